import { gunzipSync } from 'node:zlib';

import type { ContentEncoding } from './ports.ts';

export type Inflated =
  | { readonly body: Uint8Array; readonly code?: never }
  | { readonly code: 'body_too_large' | 'invalid_gzip'; readonly detail: string };

/** Decodes the body, if it is valid and at most `bytesMax` bytes. */
export function inflate(body: Uint8Array, encoding: ContentEncoding, bytesMax: number): Inflated {
  if (encoding === 'identity') {
    if (body.length <= bytesMax) return { body };
    const detail = `The body is larger than ${bytesMax} bytes; send smaller batches.`;
    return { code: 'body_too_large', detail };
  }
  try {
    return { body: gunzipSync(body, { maxOutputLength: bytesMax }) };
  } catch (error) {
    if (error instanceof RangeError || hasCode(error, 'ERR_BUFFER_TOO_LARGE')) {
      const detail = `The body inflates to more than ${bytesMax} bytes; send smaller batches.`;
      return { code: 'body_too_large', detail };
    }
    const why = error instanceof Error ? error.message : String(error);
    return { code: 'invalid_gzip', detail: `The body is not a valid gzip stream: ${why}.` };
  }
}

function hasCode(error: unknown, code: string): boolean {
  return error instanceof Error && 'code' in error && error.code === code;
}
