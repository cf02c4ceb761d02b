import { promisify } from 'node:util';
import { createGzip, gzip, type Gzip } from 'node:zlib';

import { isStream, type AnyAnswer, type Bytes, type Pieces } from './answer.ts';
import { acceptsGzip } from './negotiation.ts';

/** Below this size, compression costs more than it saves. */
const compressedBytesMin = 1024;
/** Higher levels make counters 5 % smaller but take at least twice the time. */
const settings = { level: 1, chunkSize: 64 * 1024 };
/** Half of libuv's four threads; the others remain for the log's syncs. */
const concurrencyMax = 2;

const isText = /^text\/|json|javascript|xml|openmetrics-text/;
const gzipWhole = promisify<Uint8Array, typeof settings, Buffer<ArrayBuffer>>(gzip);

/** Compresses a response that is large enough, if the client accepts gzip. */
export async function compressed(
  answer: AnyAnswer,
  acceptEncoding: string | undefined,
): Promise<AnyAnswer> {
  const { headers } = answer;
  const isCompressible =
    (isStream(answer) || Buffer.byteLength(answer.body) >= compressedBytesMin) &&
    headers['content-encoding'] === undefined &&
    isText.test(headers['content-type'] ?? '');
  if (!isCompressible) return answer;
  const vary = withVary(headers['vary'], 'Accept-Encoding');
  if (!acceptsGzip(acceptEncoding)) return { ...answer, headers: { ...headers, vary } };
  const { etag } = headers;
  const changed = {
    ...headers,
    vary,
    'content-encoding': 'gzip',
    // The bytes differ, so the tag is only weak.
    ...(etag?.startsWith('"') === true && { etag: `W/${etag}` }),
  };
  if (isStream(answer)) return { ...answer, headers: changed, body: gzipPieces(answer.body) };
  const { body } = answer;
  const bytes = typeof body === 'string' ? Buffer.from(body) : body;
  return { ...answer, headers: changed, body: await limited(() => gzipWhole(bytes, settings)) };
}

/** Adds a header name to `Vary`. */
export function withVary(vary: string | null | undefined, name: string): string {
  if (vary === null || vary === undefined || vary === '') return name;
  const isThere = vary.split(',').some((each) => each.trim().toLowerCase() === name.toLowerCase());
  return isThere ? vary : `${vary}, ${name}`;
}

function gzipPieces(pieces: Pieces): Pieces {
  const generator = generateGzip(pieces);
  return {
    next: () => generator.next(),
    async return() {
      // Return the source first: the generator may be waiting for its next piece.
      await pieces.return?.();
      return await generator.return(undefined);
    },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
}

async function* generateGzip(pieces: Pieces): AsyncGenerator<Bytes, undefined> {
  const stream = createGzip(settings);
  const ready: Buffer<ArrayBuffer>[] = [];
  stream.on('data', (bytes: Buffer<ArrayBuffer>) => ready.push(bytes));
  try {
    for await (const piece of pieces) {
      await limited(() => written(stream, piece));
      yield* ready.splice(0);
    }
    const end = new Promise((resolve, reject) => stream.once('end', resolve).once('error', reject));
    stream.end();
    await end;
    yield* ready.splice(0);
  } finally {
    stream.destroy();
  }
}

function written(stream: Gzip, piece: Uint8Array): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(piece, (error) => (error ? reject(error) : resolve()));
  });
}

let running = 0;
const waiting: (() => void)[] = [];

/** Runs at most `concurrencyMax` compressions at a time, in order. */
async function limited<T>(work: () => Promise<T>): Promise<T> {
  if (running >= concurrencyMax) await new Promise<void>((resolve) => waiting.push(resolve));
  else running++;
  try {
    return await work();
  } finally {
    const next = waiting.shift();
    if (next === undefined) running--;
    else next();
  }
}
