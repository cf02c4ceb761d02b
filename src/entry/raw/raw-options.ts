import type { Command } from 'commander';

import { addReceivedOptions, receivedRange } from '../verify/audit-options.ts';
import { addStoreOptions, storePlace, type StorePlace } from '../cli/common-options.ts';

/** What `raw list` and `raw export` need to know. */
export interface RawRangeOptions {
  place: StorePlace;
  /** By when batches came (milliseconds since 1970, `to` excluded); undefined: all. */
  received: { from: number; to: number } | undefined;
  /** Only what a listing tells: on a stack, anything else is a request for each batch. */
  isBrief: boolean;
}

interface RawValues {
  since?: number;
  until?: number;
  brief?: true;
}

/** Adds the options of `raw list` and `raw export` to a command. */
export function addRawRangeOptions(command: Command): Command {
  const brief = 'leave out encoding and counts, which on a stack are a request for each batch';
  return addStoreOptions(addReceivedOptions(command), 'bucket', 'ledger').option('--brief', brief);
}

export function rawRangeOptions(command: Command): RawRangeOptions {
  const { brief = false, ...times } = command.opts<RawValues>();
  const place = storePlace(command, 'bucket');
  return { place, received: receivedRange(times), isBrief: brief };
}
