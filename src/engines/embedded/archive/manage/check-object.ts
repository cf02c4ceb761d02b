import { asWritten } from '../../../../domain/day.ts';
import type { Difference } from '../../../../pipeline/findings.ts';
import { RecordCounter } from '../../store/record-counter.ts';
import {
  decodeTail,
  decompress,
  readSegmentName,
  numberIn,
  type Claim,
  type PieceHeader,
} from '../archive-objects.ts';
import type { ObjectStore, StoredObject } from '../stores/object-store.ts';
import {
  archivedRecords,
  bytesOf,
  decompressed,
  InvalidRecord,
  isOfContent,
  type ArchivedPart,
  type LogBytes,
} from './archived-records.ts';

/** Called with the bytes of the log while they are checked. */
export interface ByteObserver {
  /** Passes the bytes on; adds problems to `findings`. */
  observe(bytes: LogBytes, part: ArchivedPart, name: string, findings: Difference[]): LogBytes;
}

export interface CheckOptions {
  readonly store: ObjectStore;
  readonly logId: string;
  /** Whether to count the items of all bodies again. */
  readonly isCounting: boolean;
  readonly observer?: ByteObserver | undefined;
}

/** An object of which every byte was checked. */
export interface CheckedObject {
  /** Listed, but deleted meanwhile. */
  isMissing: boolean;
  /** Its content does not match its checksum, or has another format. */
  isUnreadable: boolean;
  /** Set for readable objects of the tail. */
  tail: Claim | PieceHeader | undefined;
  batches: number;
  /** Accepted items. */
  items: number;
  /** Batches that cannot be counted; only if bodies are counted. */
  deadLetters: number;
  readonly findings: Difference[];
}

/** Reads an object, and checks its checksum and every record in it. */
export async function checkObject(
  options: CheckOptions,
  { name, bytes: storedBytes }: StoredObject,
): Promise<CheckedObject> {
  const checked = newCheck();
  const object = await options.store.get(name);
  if (object === undefined) return { ...checked, isMissing: true };
  const segment = readSegmentName(name, storedBytes);
  try {
    if (segment !== undefined) {
      const { base, end: to } = segment;
      await checkRecords(options, decompressed(object), { base, from: base, to }, name, checked);
    } else if (numberIn('tail', name) !== undefined)
      await checkTail(options, object, name, checked);
    else decompress(object);
  } catch (error) {
    if (error instanceof InvalidRecord) {
      const detail = `${error.message} in ${name}: the batches from there on are damaged.`;
      checked.findings.push({ code: 'raw_damaged', detail });
    } else if (isOfContent(error)) checked.isUnreadable = true;
    else throw error;
  }
  return checked;
}

async function checkTail(
  options: CheckOptions,
  object: Uint8Array,
  name: string,
  checked: CheckedObject,
): Promise<void> {
  const found = decodeTail(object);
  if (found.kind === 'claim') {
    checked.tail = found;
    return;
  }
  const { bytes, ...header } = found;
  checked.tail = header;
  await checkRecords(options, bytesOf(bytes), header, name, checked);
}

async function checkRecords(
  { logId, isCounting, observer }: CheckOptions,
  bytes: LogBytes,
  part: ArchivedPart,
  name: string,
  checked: CheckedObject,
): Promise<void> {
  const observed = observer?.observe(bytes, part, name, checked.findings) ?? bytes;
  // Whether items can be counted does not depend on the day rule.
  const counter = isCounting ? new RecordCounter(asWritten) : undefined;
  for await (const record of archivedRecords(observed, part, logId)) {
    checked.batches++;
    if (counter === undefined || counter.count(record) === undefined) {
      checked.items += record.accepted;
    } else checked.deadLetters++;
    if (counter?.isFull === true) counter.takeIncrements();
  }
}

function newCheck(): CheckedObject {
  return {
    ...{ isMissing: false, isUnreadable: false, tail: undefined, findings: [] },
    ...{ batches: 0, items: 0, deadLetters: 0 },
  };
}
