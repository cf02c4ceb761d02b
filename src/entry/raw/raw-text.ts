import { asWritten } from '../../domain/day.ts';
import { toRanges } from '../../domain/index-ranges.ts';
import type { BatchDetails } from '../../pipeline/ports.ts';

/** The content of a line of `raw list` and of `batches.ndjson`. */
export interface ListedBatch {
  readonly rawKey: string;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /** The size of the body as received. */
  readonly bytes: number;
  /** The day rule of the store; in exports only. */
  readonly dayZone?: string | undefined;
  /** Undefined with `--brief`. */
  readonly details?: BatchDetails | undefined;
}

/** A line of JSON, with its end. */
export function batchLine({ rawKey, receivedAt, bytes, dayZone, details }: ListedBatch): string {
  const received = new Date(receivedAt).toISOString();
  const document = {
    ...{ raw_key: rawKey, received_at: received, bytes },
    ...(dayZone !== undefined && dayZone !== asWritten && { day_zone: dayZone }),
    ...(details !== undefined && documentOf(details)),
  };
  return `${JSON.stringify(document)}\n`;
}

/** Over-limit items (`excluded`) are ranges of indexes, each with its first and last. */
function documentOf({ excluded, caller, idempotencyKey, logId, ...rest }: BatchDetails): object {
  return {
    ...{ encoding: rest.encoding, accepted: rest.accepted, rejected: rest.rejected },
    ...(excluded !== undefined && { excluded: toRanges(excluded) }),
    ...(caller !== undefined && caller !== '' && { caller }),
    ...(idempotencyKey !== undefined && { idempotency_key: idempotencyKey }),
    ...(logId !== undefined && { log_id: logId }),
  };
}
