import { ListObjectsV2Command, type _Object, type S3Client } from '@aws-sdk/client-s3';

export interface KeyRange {
  readonly after: string;
  readonly before?: string;
}

/** An object of the bucket in a listing. */
export interface ListedObject {
  readonly key: string;
  readonly bytes: number;
  /** A tag that changes with the object's content. */
  readonly etag: string;
  /** When it was stored, milliseconds since 1970; undefined if the listing lacks it. */
  readonly storedAt: number | undefined;
}

/** The objects with a prefix whose keys are in the range, in order, a page at a time. */
export async function* listObjects(
  client: Pick<S3Client, 'send'>,
  Bucket: string,
  Prefix: string,
  { after, before }: KeyRange,
): AsyncGenerator<ListedObject[]> {
  let ContinuationToken: string | undefined;
  do {
    const page = await client.send(
      new ListObjectsV2Command({
        ...{ Bucket, Prefix },
        ...(ContinuationToken === undefined ? { StartAfter: after } : { ContinuationToken }),
      }),
    );
    const objects = (page.Contents ?? []).map(objectOf).filter(({ key }) => key > after);
    const wanted = before === undefined ? objects : objects.filter(({ key }) => key < before);
    yield wanted;
    if (wanted.length < objects.length) return;
    ContinuationToken = page.NextContinuationToken;
  } while (ContinuationToken !== undefined);
}

function objectOf({ Key = '', Size = 0, ETag = '', LastModified }: _Object): ListedObject {
  return { key: Key, bytes: Size, etag: ETag, storedAt: LastModified?.getTime() };
}
