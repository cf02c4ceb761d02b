import { hash } from 'node:crypto';

import type {
  GetObjectCommandInput,
  HeadObjectCommandInput,
  ListObjectsV2CommandInput,
  PutObjectCommandInput,
} from '@aws-sdk/client-s3';

import { compareUtf8 } from '../../../src/domain/counter.ts';
import { knowsOnly, serviceError, unknownToSimulation } from './aws-simulated-errors.ts';

export interface SimulatedObject {
  readonly body: Uint8Array;
  readonly contentEncoding: string | undefined;
  readonly metadata: Readonly<Record<string, string>>;
}

/** One bucket of S3 as far as the engine uses it. */
export class SimulatedS3 {
  readonly objects = new Map<string, SimulatedObject>();
  readonly #pageKeys: number;

  constructor(pageKeys = 2) {
    this.#pageKeys = pageKeys;
  }

  putObject(request: PutObjectCommandInput) {
    knowsOnly(request, ['Bucket', 'Key', 'Body', 'ContentType', 'ContentEncoding', 'Metadata']);
    if (!(request.Body instanceof Uint8Array)) throw unknownToSimulation('a body of streams');
    this.objects.set(request.Key ?? '', {
      body: Uint8Array.from(request.Body),
      contentEncoding: request.ContentEncoding,
      metadata: { ...request.Metadata },
    });
    return { $metadata: {} };
  }

  headObject({ Key = '' }: HeadObjectCommandInput) {
    const object = this.objects.get(Key);
    if (object === undefined) throw serviceError('NotFound', 404);
    return { $metadata: {}, ...headersOf(object) };
  }

  getObject({ Key = '' }: GetObjectCommandInput) {
    const object = this.objects.get(Key);
    if (object === undefined) throw serviceError('NoSuchKey', 404);
    return {
      $metadata: {},
      Body: { transformToByteArray: () => Promise.resolve(Uint8Array.from(object.body)) },
      ...headersOf(object),
    };
  }

  listObjectsV2(request: ListObjectsV2CommandInput) {
    knowsOnly(request, ['Bucket', 'Prefix', 'StartAfter', 'ContinuationToken', 'MaxKeys']);
    const { Prefix = '', StartAfter = '', ContinuationToken = '', MaxKeys } = request;
    const after = ContinuationToken === '' ? StartAfter : ContinuationToken;
    const keys = [...this.objects.keys()]
      .filter((key) => key.startsWith(Prefix) && compareUtf8(key, after) > 0)
      .sort(compareUtf8);
    const page = keys.slice(0, MaxKeys ?? this.#pageKeys);
    const IsTruncated = page.length < keys.length;
    return {
      $metadata: {},
      IsTruncated,
      ...(page.length > 0 && {
        Contents: page.map((Key) => {
          const body = this.objects.get(Key)?.body ?? new Uint8Array();
          return { Key, Size: body.length, ETag: hash('md5', body) };
        }),
      }),
      ...(IsTruncated && { NextContinuationToken: page.at(-1) }),
    };
  }
}

function headersOf({ body, contentEncoding, metadata }: SimulatedObject) {
  return {
    ContentLength: body.length,
    ...(contentEncoding !== undefined && { ContentEncoding: contentEncoding }),
    Metadata: { ...metadata },
  };
}
