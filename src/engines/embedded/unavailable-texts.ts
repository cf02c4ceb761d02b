import type { IngestOutcome, Unavailable } from '../../pipeline/ports.ts';

const details: Record<Unavailable['code'], string> = {
  overloaded: 'Too many batches wait to be stored. Send the batch again after a moment.',
  stopping: 'The server is stopping. Send the batch again later.',
  storage_failed:
    'The batch could not be stored and was not acknowledged. Send it again, with the same Idempotency-Key if it had one.',
  archive_unavailable:
    'The archive, which must hold each batch before it is acknowledged, cannot be reached. Send the batch again after a moment, with the same Idempotency-Key if it had one.',
};

export function refusal(code: Unavailable['code']): IngestOutcome {
  const retryAfterSeconds = code === 'overloaded' ? 1 : 5;
  return { accepted: false, problem: { code, detail: details[code], retryAfterSeconds } };
}
