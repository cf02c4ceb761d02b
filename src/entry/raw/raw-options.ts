import type { Command } from 'commander';

import type { ReceivedRange } from '../../pipeline/store-admin.ts';
import { addReceivedOptions, receivedRange } from '../cli/date-range.ts';
import { addStoreOptions, storePlace, type StorePlace } from '../cli/common-options.ts';

/** The options of `raw list` and `raw export`. */
export interface RawRangeOptions {
  place: StorePlace;
  /** Batches received in this range (milliseconds since 1970, `to` excluded); undefined: all. */
  received: ReceivedRange | undefined;
  /** Omit what a listing of the bucket lacks; on a stack, that takes a request for each batch. */
  isBrief: boolean;
}

interface RawValues {
  since?: number;
  until?: number;
  brief?: true;
}

/** Adds the options of `raw list` and `raw export` to a command. */
export function addRawRangeOptions(command: Command): Command {
  const brief = 'omit encoding and counts, which on a stack take a request for each batch';
  return addStoreOptions(addReceivedOptions(command), 'bucket', 'ledger').option('--brief', brief);
}

export function rawRangeOptions(command: Command): RawRangeOptions {
  const { brief = false, ...times } = command.opts<RawValues>();
  const place = storePlace(command, 'bucket');
  return { place, received: receivedRange(times), isBrief: brief };
}
