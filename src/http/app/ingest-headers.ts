import type { Problem } from '../../domain/problem.ts';
import type { ContentEncoding, Submission } from '../../pipeline/ports.ts';
import { problemAnswer, type Answer } from './answer.ts';
import { readReplayHeader, replayHeader } from './replay-header.ts';

/** `caller` is set only for a replayed batch. */
type IngestHeaders = Omit<Submission, 'body' | 'caller'> & Partial<Pick<Submission, 'caller'>>;

type HeadersReading =
  | { readonly headers: IngestHeaders; readonly refusal?: never }
  | { readonly headers?: never; readonly refusal: Answer };

const encodings = new Map<string, ContentEncoding>([
  ['', 'identity'],
  ['identity', 'identity'],
  ['gzip', 'gzip'],
  ['x-gzip', 'gzip'],
]);

export const idempotencyKeyCharactersMax = 255;
const visibleAscii = new RegExp(`^[!-~]{1,${idempotencyKeyCharactersMax}}$`);

/** Reads the headers of `POST /ingest`; or the refusal before the body is read. */
export function readIngestHeaders(header: (name: string) => string | undefined): HeadersReading {
  const contentType = header('content-type') ?? '';
  const encoding = encodings.get((header('content-encoding') ?? '').trim().toLowerCase());
  const knownEncodings = encoding === undefined ? { 'accept-encoding': 'gzip' } : undefined;
  if (!isJson(contentType)) {
    const detail = `Unsupported Content-Type ${JSON.stringify(contentType)}; send application/json in UTF-8.`;
    return refuse(
      { code: 'unsupported_media_type', detail },
      { accept: 'application/json', ...knownEncodings },
    );
  }
  if (encoding === undefined) {
    const detail = 'Unsupported Content-Encoding; send the body plain or with gzip.';
    return refuse({ code: 'unsupported_media_type', detail }, knownEncodings);
  }
  const idempotencyKey = header('idempotency-key');
  if (idempotencyKey !== undefined && !visibleAscii.test(idempotencyKey)) {
    const detail = `Idempotency-Key must be 1 to ${idempotencyKeyCharactersMax} visible ASCII characters, without spaces.`;
    return refuse({ code: 'invalid_idempotency_key', detail });
  }
  const replay = header(replayHeader);
  if (replay !== undefined) {
    const claim = readReplayHeader(replay);
    // A replayed batch is accepted as at its source; `Prefer` has no effect.
    if (claim !== undefined)
      return { headers: { encoding, strict: false, idempotencyKey, ...claim } };
    const detail =
      'Replay-Of must be at most 8,000 bytes of ASCII JSON with the members "raw_key", "accepted" and "rejected", and optionally "excluded", "caller" and "log_id".';
    return refuse({ code: 'invalid_replay', detail });
  }
  const strict = prefersStrict(header('prefer') ?? '');
  return { headers: { encoding, strict, idempotencyKey } };
}

/** The refusal of a body of more than `bytesMax` bytes. */
export function bodyTooLarge(bytesMax: number): Answer {
  const detail = `The body is larger than ${bytesMax} bytes. Split the items into several batches.`;
  return problemAnswer({ code: 'body_too_large', detail });
}

function refuse(problem: Problem, headers?: Record<string, string>): HeadersReading {
  return { refusal: problemAnswer(problem, headers) };
}

/** `application/json`, in UTF-8 if it names a charset. */
function isJson(contentType: string): boolean {
  if (contentType === 'application/json') return true;
  const [mediaType, ...parameters] = contentType.toLowerCase().split(';');
  if (mediaType?.trim() !== 'application/json') return false;
  return parameters.every((parameter) => {
    const [name, value] = parameter.split('=');
    return name?.trim() !== 'charset' || /^\s*"?utf-?8"?\s*$/.test(value ?? '');
  });
}

/** Whether `Prefer` (RFC 7240) holds `handling=strict`; the first `handling` counts. */
function prefersStrict(prefer: string): boolean {
  if (prefer === '') return false;
  for (const preference of prefer.split(',')) {
    const [name, value] = (preference.split(';')[0] ?? '').split('=');
    if (name?.trim().toLowerCase() === 'handling') {
      return value?.trim().replaceAll('"', '').toLowerCase() === 'strict';
    }
  }
  return false;
}
