import { promisify } from 'node:util';
import { gunzip } from 'node:zlib';

const inflate = promisify(gunzip);

/** Gateways that destroy compressed bodies accept no larger ones. */
const inflatedBytesMax = 64 * 1024 * 1024;

interface Body {
  readonly body: Uint8Array | string;
  readonly headers?: Readonly<Record<string, string>>;
}

/**
 * The same batch without compression. The server treats it as the same batch, since keys go with the
 * inflated body. Undefined if it is not compressed, or its body is not gzip.
 */
export async function uncompressed<Batch extends Body>(batch: Batch): Promise<Batch | undefined> {
  const all = Object.entries(batch.headers ?? {});
  const isEncoding = ([name]: readonly [string, string]) =>
    name.toLowerCase() === 'content-encoding';
  const [, encoding = ''] = all.find(isEncoding) ?? [];
  if (!/^(x-)?gzip$/i.test(encoding.trim())) return undefined;
  try {
    const body = await inflate(batch.body, { maxOutputLength: inflatedBytesMax });
    const headers = Object.fromEntries(all.filter((header) => !isEncoding(header)));
    return { ...batch, body, headers };
  } catch {
    // The server's response says what is wrong.
    return undefined;
  }
}
