import { asWritten } from '../../domain/day.ts';
import { toRanges } from '../../domain/index-ranges.ts';
import type { RawBatch } from '../../pipeline/ports.ts';

/** What a line of `raw list` and of `batches.ndjson` tells. */
export interface ListedBatch {
  readonly rawKey: string;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
  /** Of the body as it came. */
  readonly bytes: number;
  /** The day rule of the store, for an export, which has nothing else to say it. */
  readonly dayZone?: string;
  /** Undefined where that was not asked for. */
  readonly details?: BatchDetails;
}

type BatchDetails = Pick<RawBatch, 'encoding' | 'accepted' | 'rejected' | 'excluded'> & {
  /** Of batches of an embedded store. */
  readonly caller?: string | undefined;
  readonly idempotencyKey?: string | undefined;
  readonly logId?: string | undefined;
};

/** A line of JSON. */
export function batchLine({ rawKey, receivedAt, bytes, dayZone, details }: ListedBatch): string {
  const received = new Date(receivedAt).toISOString();
  return JSON.stringify({
    ...{ raw_key: rawKey, received_at: received, bytes },
    ...(dayZone !== undefined && dayZone !== asWritten && { day_zone: dayZone }),
    ...(details !== undefined && documentOf(details)),
  });
}

/** Excluded items as runs of indexes, each by its first and last. */
function documentOf({ excluded, caller, idempotencyKey, logId, ...rest }: BatchDetails): object {
  return {
    ...{ encoding: rest.encoding, accepted: rest.accepted, rejected: rest.rejected },
    ...(excluded !== undefined && { excluded: toRanges(excluded) }),
    ...(caller !== undefined && caller !== '' && { caller }),
    ...(idempotencyKey !== undefined && { idempotency_key: idempotencyKey }),
    ...(logId !== undefined && { log_id: logId }),
  };
}
