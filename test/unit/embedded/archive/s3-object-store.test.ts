import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:net';

import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';

import { listen } from '../../../../infra/local/listen.ts';
import {
  ArchiveUnusable,
  type ObjectStore,
} from '../../../../src/engines/embedded/archive/stores/object-store.ts';
import { openObjectStore } from '../../../../src/engines/embedded/archive/stores/open-object-store.ts';
import { listAll } from '../../../contract/ports/object-store-contract.ts';
import {
  environmentOf,
  startArchiveBucket,
  type ArchiveBucket,
} from '../../../support/aws/archive-bucket.ts';
import { slowDown, type Fault, type S3Request } from '../../../support/aws/s3-with-conditions.ts';

let bucket: ArchiveBucket;
beforeAll(async () => {
  bucket = await startArchiveBucket();
});
afterAll(() => bucket.stop());

let requests: S3Request[];
/** What hits the next requests, in their order. */
let faults: Fault[];
let store: ObjectStore;
beforeEach(async () => {
  requests = [];
  faults = [];
  bucket.faults.faultOf = (request) => {
    requests.push(request);
    return faults.shift();
  };
  useEnvironment(bucket.env);
  store = await openObjectStore(bucket.url);
});
afterEach(async () => {
  faults = [];
  useEnvironment(bucket.env);
  const whole = await openObjectStore('s3://archive');
  for (const { name } of await listAll(whole)) await whole.remove(name);
  whole.close();
  store.close();
});

const one = Buffer.from('1');
const operations: [string, () => Promise<unknown>][] = [
  ['create', () => store.create('log/one', one)],
  ['get', () => store.get('log/one')],
  ['list', () => listAll(store)],
  ['remove', () => store.remove('log/one')],
];

describe('the requests to S3', () => {
  it('have keys below the prefix of the URL', async () => {
    const whole = await openObjectStore('s3://archive');
    await store.create('log/one', one);
    await whole.create('top', one);
    expect(await listAll(whole)).toEqual([
      { name: 'prefix/log/one', bytes: 1 },
      { name: 'top', bytes: 1 },
    ]);
    expect(await listAll(store)).toEqual([{ name: 'log/one', bytes: 1 }]);
    await whole.create('prefix-2/log/two', one);
    expect(await listAll(store)).toHaveLength(1);
  });

  it('leave out keys that are no names of objects', async () => {
    const whole = await openObjectStore('s3://archive');
    for (const key of ['prefix/', 'prefix/README.txt', 'prefix/log//x'])
      await whole.create(key, one);
    await store.create('log/one', one);
    expect(await listAll(store)).toEqual([{ name: 'log/one', bytes: 1 }]);
    for (const key of ['prefix/', 'prefix/README.txt', 'prefix/log//x']) await whole.remove(key);
  });

  it('list the objects in the order of their names, whatever the order of the store', async () => {
    for (const name of ['a', 'b', 'c']) await store.create(name, one);
    faults = [{ kind: 'reverse-list' }];
    expect((await listAll(store)).map(({ name }) => name)).toEqual(['a', 'b', 'c']);
  });

  it('name the bucket in the path if the endpoint is not Amazon', async () => {
    const { port } = new URL(bucket.env['AWS_ENDPOINT_URL_S3'] ?? '');
    useEnvironment(environmentOf(`http://localhost:${port}`));
    const other = await openObjectStore(bucket.url);
    await other.create('log/one', one);
    expect(requests.map(({ path, headers }) => [path, headers.host])).toEqual([
      ['/archive/prefix/log/one', `localhost:${port}`],
    ]);
  });

  it('let the store verify the bytes, in ways that every store supports', async () => {
    await store.create('log/one', one);
    const [request] = requests;
    const digestOf = (algorithm: string) => createHash(algorithm).update(one);
    expect(request?.headers).toMatchObject({
      'if-none-match': '*',
      'content-length': '1',
      'content-md5': digestOf('md5').digest('base64'),
      'x-amz-content-sha256': digestOf('sha256').digest('hex'),
    });
    const names = Object.keys(request?.headers ?? {});
    expect(names.filter((name) => /checksum|trailer|decoded/.test(name))).toEqual([]);
  });

  it.each(operations)('are not repeated: %s', async (_, operate) => {
    faults = [slowDown];
    const failure = await failureOf(operate());
    expect(failure).not.toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toBe('The store answered 503 SlowDown: Because of SlowDown');
    expect(requests).toHaveLength(1);
  });

  it.each(operations)('end after a time: %s', async (_, operate) => {
    const timeout = AbortSignal.timeout.bind(AbortSignal);
    vi.spyOn(AbortSignal, 'timeout').mockImplementation(() => timeout(20));
    const { promise: until, reject } = Promise.withResolvers<never>();
    // The client may give up before the request has come as a whole, and then nothing waits.
    until.catch(() => undefined);
    faults = [{ kind: 'wait', until }];
    expect((await failureOf(operate())).message).toBe('The store did not respond in time');
    // So that the request never arrives: it would change what the tests after this one expect.
    reject(new Error('the client has given up'));
    vi.restoreAllMocks();
  });

  it('have the more time the larger the object is', async () => {
    const timeout = vi.spyOn(AbortSignal, 'timeout');
    await store.create('log/none', Buffer.alloc(0));
    await store.create('log/some', Buffer.alloc(8 * 2 ** 20));
    await listAll(store);
    expect(timeout.mock.calls).toEqual([[30_000], [41_200], [30_000]]);
  });
});

describe('a fault of the connection', () => {
  it('that loses the reply to a creation leaves the object, and the next attempt finds it', async () => {
    faults = [{ kind: 'drop-answer' }];
    const failure = await failureOf(store.create('log/one', one));
    expect(failure.message).toBe('The store cannot be reached: socket hang up');
    expect(failure).not.toBeInstanceOf(ArchiveUnusable);
    expect(await store.create('log/one', one)).toBe('exists');
    expect(Buffer.from((await store.get('log/one')) ?? [])).toEqual(one);
  });

  it('that loses the request leaves nothing', async () => {
    faults = [{ kind: 'drop-request' }];
    await expect(store.create('log/one', one)).rejects.toThrow('The store cannot be reached');
    expect(await store.get('log/one')).toBe(undefined);
    expect(await store.create('log/one', one)).toBe('created');
  });

  it('in the middle of an object is not treated as its end', async () => {
    await store.create('log/one', Buffer.alloc(100_000, 1));
    faults = [{ kind: 'cut-answer' }];
    await expect(store.get('log/one')).rejects.toThrow('The store cannot be reached: aborted');
    expect(await store.get('log/one')).toHaveLength(100_000);
  });

  it.each(['127.0.0.1', 'localhost'])(
    'is distinguished from a store at %s that is down',
    async (host) => {
      const server = createServer();
      const port = await listen(server, 0, '127.0.0.1');
      server.close();
      await once(server, 'close');
      useEnvironment(environmentOf(`http://${host}:${port}`));
      store = await openObjectStore(bucket.url);
      for (const [name, operate] of operations) {
        const failure = await failureOf(operate());
        expect(failure, name).not.toBeInstanceOf(ArchiveUnusable);
        expect(failure.message, name).toMatch(
          /^The store cannot be reached: connect ECONNREFUSED \S+:\d+$/,
        );
      }
    },
  );
});

describe('an answer of the store', () => {
  const answer = (status: number, code?: string): Fault => ({
    kind: 'answer',
    status,
    ...(code !== undefined && { code }),
  });

  it.each([
    [409, 'ConditionalRequestConflict'],
    [500, 'InternalError'],
    [400, 'RequestTimeout'],
    [400, 'BadDigest'],
  ])('of %d %s may be another one next time', async (status, code) => {
    faults = [answer(status, code)];
    const failure = await failureOf(store.create('log/one', one));
    expect(failure).not.toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toBe(`The store answered ${status} ${code}: Because of ${code}`);
  });

  it.each([502, 503, 404])('that is a page of HTML, %d, is one short line', async (status) => {
    for (const [name, operate] of operations) {
      faults = [answer(status)];
      const failure = await failureOf(operate());
      expect(failure, name).not.toBeInstanceOf(ArchiveUnusable);
      expect(failure.message, name).toBe(`The store answered ${status}`);
    }
  });

  it.each([
    [403, 'AccessDenied', 'Allow s3:PutObject, s3:GetObject, s3:ListBucket and s3:DeleteObject'],
    [403, 'InvalidAccessKeyId', 'Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY'],
    [403, 'SignatureDoesNotMatch', 'or AWS_PROFILE'],
    [400, 'ExpiredToken', 'AWS_SESSION_TOKEN'],
    [301, 'PermanentRedirect', 'in another region, or has another endpoint'],
    [400, 'AuthorizationHeaderMalformed', 'Set AWS_REGION'],
    [403, 'RequestTimeTooSkewed', 'the clock of this machine is wrong'],
  ])('of %d %s says what to do', async (status, code, remedy) => {
    for (const [name, operate] of operations) {
      faults = [answer(status, code)];
      const failure = await failureOf(operate());
      expect(failure, name).toBeInstanceOf(ArchiveUnusable);
      expect(failure.message, name).toContain(remedy);
      expect(failure.message, name).toContain('s3://archive/prefix');
    }
  });

  it.each([501, 400])('of %d to If-None-Match says that it is not supported', async (status) => {
    faults = [answer(status, 'NotImplemented')];
    const failure = await failureOf(store.create('log/one', one));
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toBe(
      "s3://archive/prefix cannot be used: the store answers If-None-Match with NotImplemented (Because of NotImplemented), so two servers could overwrite each other's objects. Use a store that creates an object only once: Amazon S3, Cloudflare R2, MinIO and Scaleway do, for example; Backblaze B2 and Alibaba OSS do not.",
    );
  });

  it('without the bucket names it', async () => {
    store = await openObjectStore('s3://no-such-bucket/prefix');
    for (const [name, operate] of operations) {
      const failure = await failureOf(operate());
      expect(failure, name).toBeInstanceOf(ArchiveUnusable);
      expect(failure.message, name).toBe(
        'There is no bucket no-such-bucket for s3://no-such-bucket/prefix. Create it, or check its name, AWS_REGION and AWS_ENDPOINT_URL_S3.',
      );
    }
  });
});

describe('a setting that is missing', () => {
  it('is the region', async () => {
    useEnvironment({ ...bucket.env, AWS_REGION: undefined });
    const failure = await failureOf(openObjectStore(bucket.url));
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toBe(
      'There is no region for s3://archive/prefix (Region is missing). Set AWS_REGION or AWS_PROFILE; us-east-1 if the store has no regions.',
    );
  });

  it('is the scheme of the endpoint', async () => {
    useEnvironment({ ...bucket.env, AWS_ENDPOINT_URL_S3: 'minio.example' });
    const failure = await failureOf(openObjectStore(bucket.url));
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toContain('The endpoint for s3://archive/prefix is not a URL: minio');
  });

  it('is the credentials', async () => {
    useEnvironment({ ...bucket.env, AWS_ACCESS_KEY_ID: undefined });
    store = await openObjectStore(bucket.url);
    const failure = await failureOf(store.create('log/one', one));
    expect(failure).toBeInstanceOf(ArchiveUnusable);
    expect(failure.message).toContain('No credentials for s3://archive/prefix were found (');
    expect(failure.message).toContain('Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY');
  });

  it('is a valid name of the bucket', async () => {
    store = await openObjectStore('s3://archive..x/prefix');
    const failure = await failureOf(store.create('log/one', one));
    expect(failure).toBeInstanceOf(ArchiveUnusable);
  });
});

function useEnvironment(variables: Readonly<Record<string, string | undefined>>): void {
  for (const name of ['AWS_PROFILE', 'AWS_DEFAULT_REGION', 'AWS_ENDPOINT_URL']) {
    vi.stubEnv(name, undefined);
  }
  for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
}

async function failureOf(result: Promise<unknown>): Promise<Error> {
  const reason: unknown = await result.then(
    () => undefined,
    (error: unknown) => error,
  );
  if (!(reason instanceof Error)) throw new Error('It did not fail');
  return reason;
}
