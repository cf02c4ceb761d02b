import { createHash, getFips } from 'node:crypto';

import {
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

import { isObjectName } from './object-name.ts';
import { ArchiveUnusable, type ObjectStore, type StoredObject } from './object-store.ts';
import { explainS3Error, statusOf, type S3Place } from './s3-failures.ts';

const connectionTimeoutMs = 5_000;
const smallRequestMsMax = 30_000;
/** 120 s for 64 MiB at the lowest speed of 0.7 MiB/s. */
const msMaxPerMiB = 1_400;
const getMsMax = 120_000;

/**
 * A bucket of S3, or of a store with the same API. Endpoint, region and credentials come from the
 * places that the AWS SDK reads: environment, profile, role of the machine.
 * @throws ArchiveUnusable if the region is missing or the endpoint is no URL. Sends no request.
 */
export async function openS3ObjectStore(place: S3Place): Promise<ObjectStore> {
  return new S3ObjectStore(place, await openClient(place));
}

class S3ObjectStore implements ObjectStore {
  readonly url: string;
  readonly #place: S3Place;
  readonly #client: S3Client;

  constructor(place: S3Place, client: S3Client) {
    this.url = place.url;
    this.#place = place;
    this.#client = client;
  }

  async create(name: string, bytes: Uint8Array): Promise<'created' | 'exists'> {
    const request = new PutObjectCommand({
      ...this.#object(name),
      Body: bytes,
      IfNoneMatch: '*',
      ...digest(bytes),
    });
    const msMax = smallRequestMsMax + (bytes.length / 2 ** 20) * msMaxPerMiB;
    try {
      await this.#client.send(request, endingAfter(msMax));
      return 'created';
    } catch (error) {
      if (statusOf(error) === 412) return 'exists';
      throw explainS3Error(error, this.#place);
    }
  }

  async get(name: string): Promise<Uint8Array | undefined> {
    try {
      const request = new GetObjectCommand(this.#object(name));
      const { Body } = await this.#client.send(request, endingAfter(getMsMax));
      return (await Body?.transformToByteArray()) ?? new Uint8Array();
    } catch (error) {
      // Not every 404: a proxy or a wrong endpoint may send one, too.
      if (isNoSuchKey(error)) return undefined;
      throw explainS3Error(error, this.#place);
    }
  }

  /** Holds the names of all objects in memory, because some stores have another order. */
  async *list(prefix: string): AsyncGenerator<StoredObject> {
    const objects: StoredObject[] = [];
    let token: string | undefined;
    do token = await this.#listPage(prefix, token, objects);
    while (token !== undefined);
    // Names are ASCII, so the order of strings is that of bytes.
    yield* objects.sort((one, other) => (one.name < other.name ? -1 : 1));
  }

  async remove(name: string): Promise<void> {
    try {
      const request = new DeleteObjectCommand(this.#object(name));
      await this.#client.send(request, endingAfter(smallRequestMsMax));
    } catch (error) {
      if (!isNoSuchKey(error)) throw explainS3Error(error, this.#place);
    }
  }

  close(): void {
    this.#client.destroy();
  }

  /** Adds the objects of a page to `objects`; returns the token of the next page, if there is one. */
  async #listPage(
    prefix: string,
    token: string | undefined,
    objects: StoredObject[],
  ): Promise<string | undefined> {
    const { bucket: Bucket, prefix: parent } = this.#place;
    const Prefix = parent + prefix;
    try {
      const request = new ListObjectsV2Command({ Bucket, Prefix, ContinuationToken: token });
      const page = await this.#client.send(request, endingAfter(smallRequestMsMax));
      for (const { Key = '', Size = 0 } of page.Contents ?? []) {
        const name = Key.slice(parent.length);
        if (isObjectName(name)) objects.push({ name, bytes: Size });
      }
      return page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } catch (error) {
      throw explainS3Error(error, this.#place);
    }
  }

  #object(name: string): { Bucket: string; Key: string } {
    return { Bucket: this.#place.bucket, Key: this.#place.prefix + name };
  }
}

async function openClient({ url }: S3Place): Promise<S3Client> {
  const settings = {
    maxAttempts: 1,
    requestHandler: { connectionTimeout: connectionTimeoutMs },
    // By default, the SDK sends a CRC32 in a trailer, which some stores do not support; see
    // `digest`.
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  } as const;
  const client = new S3Client(settings);
  await requireRegion(client, url);
  const endpoint = await client.config.serviceConfiguredEndpoint?.();
  if (endpoint === undefined) return client;
  client.destroy();
  if (!URL.canParse(endpoint)) {
    throw new ArchiveUnusable(
      `The endpoint for ${url} is not a URL: ${endpoint}. Write AWS_ENDPOINT_URL_S3 with a scheme, such as https://minio.example:9000.`,
    );
  }
  // Other stores rarely have a host name for each bucket.
  return new S3Client({ ...settings, endpoint, forcePathStyle: true });
}

async function requireRegion(client: S3Client, url: string): Promise<void> {
  try {
    await client.config.region();
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new ArchiveUnusable(
      `There is no region for ${url} (${reason}). Set AWS_REGION or AWS_PROFILE; us-east-1 if the store has no regions.`,
      { cause },
    );
  }
}

/**
 * How the store verifies the received bytes. The SDK signs their SHA-256, which every store with
 * signatures of version 4 verifies. Content-MD5 is as old as S3, and Amazon requires it, or a newer
 * checksum, for buckets with an object lock. It takes 2 ms a MiB. A FIPS mode of OpenSSL lacks it.
 */
function digest(bytes: Uint8Array): { ContentMD5?: string } {
  if (getFips() === 1) return {};
  return { ContentMD5: createHash('md5').update(bytes).digest('base64') };
}

/** Also ends a response whose body stalls, unlike the SDK's `requestTimeout`. */
function endingAfter(ms: number): { abortSignal: AbortSignal } {
  return { abortSignal: AbortSignal.timeout(Math.ceil(ms)) };
}

function isNoSuchKey(error: unknown): boolean {
  return error instanceof Error && error.name === 'NoSuchKey';
}
