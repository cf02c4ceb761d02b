import type { S3Client } from '@aws-sdk/client-s3';

import { readRawKey } from '../../../domain/batch-id.ts';
import {
  isWithin,
  type RawBatchEntry,
  type RawEntry,
  type ReceivedRange,
} from '../../../pipeline/store-admin.ts';
import { rawKeyOfBatch, s3BodyGroups, type BodyGroups, type GroupLine } from './body-groups.ts';
import { s3RawStore, startOf, type S3RawStore } from './raw-store.ts';

/** A raw batch in a listing, before its position is known. */
type Entry = Omit<RawBatchEntry, 'at'>;
type Damage = Extract<RawEntry, { readonly damage: string }>;

/** The raw bodies of a bucket in both forms, as if each had an object of its own. */
export interface RawBatches {
  /** Lists the batches in the order of raw keys, each once, a page at a time. */
  list(range: ReceivedRange): AsyncIterable<readonly RawEntry[]>;
  /** The bytes of a body as received. */
  get(rawKey: string): Promise<Uint8Array | undefined>;
}

export function s3RawBatches(client: Pick<S3Client, 'send'>, bucket: string): RawBatches {
  const bodies = s3RawStore(client, bucket);
  const groups = s3BodyGroups(client, bucket);
  return {
    list: (range) => withPlaces(merged(objectEntries(bodies, range), groupsOf(groups, range))),
    async get(rawKey) {
      return ((await bodies.get(rawKey)) ?? (await groups.find(rawKey)))?.body;
    },
  };
}

async function* withPlaces(
  pages: AsyncIterable<readonly (Entry | Damage)[]>,
): AsyncGenerator<RawEntry[]> {
  let at = 0;
  for await (const page of pages) {
    yield page.map((entry) => ('damage' in entry ? (entry as Damage) : { ...entry, at: ++at }));
  }
}

/** Later times have no four-digit year, as raw keys need. */
const lastTime = Date.UTC(9999, 11, 31);

async function* objectEntries(
  bodies: S3RawStore,
  { from, to }: ReceivedRange,
): AsyncGenerator<Entry[]> {
  const before = to > lastTime ? {} : { before: startOf(to) };
  for await (const page of bodies.objects({ after: startOf(Math.max(0, from)), ...before })) {
    yield page.flatMap(({ rawKey, bytes }) => {
      const identity = readRawKey(rawKey);
      // Not one of our keys.
      if (identity === undefined) return [];
      const details = () => bodies.head(rawKey);
      const load = async () => {
        const raw = await bodies.get(rawKey);
        return raw && { body: raw.body, details: raw };
      };
      return [{ rawKey, receivedAt: identity.receivedAt, bytes, details, load }];
    });
  }
}

interface OpenedGroup {
  /** Sorts before the raw key of each of its batches. */
  readonly start: string;
  entries(): Promise<(Entry | Damage)[]>;
}

/** The groups by their first batches; each is read when its turn comes. */
async function* groupsOf(groups: BodyGroups, range: ReceivedRange): AsyncGenerator<OpenedGroup> {
  for await (const page of groups.list(range)) {
    for (const { key, first } of page) {
      yield {
        start: startOf(first),
        entries: async () =>
          ((await groups.read(key)) ?? []).flatMap((line) => entryOf(line, range)),
      };
    }
  }
}

function entryOf(line: GroupLine, range: ReceivedRange): (Entry | Damage)[] {
  if ('reason' in line)
    return [{ damage: `${line.rawKey ?? 'A line of a group'}: ${line.reason}` }];
  const { carried } = line;
  const { receivedAt, body } = carried;
  if (!isWithin(receivedAt, range)) return [];
  const loaded = { body, details: carried };
  return [
    {
      ...{ rawKey: rawKeyOfBatch(carried), receivedAt, bytes: body.length },
      details: () => carried,
      load: () => loaded,
    },
  ];
}

/**
 * Merges both by raw key. Groups overlap in time, and a batch may be in several: before it reads a
 * group, it passes on everything that sorts before the group's first batch, so that only
 * overlapping groups are in memory.
 */
async function* merged(
  objects: AsyncIterator<Entry[]>,
  groups: AsyncIterable<OpenedGroup>,
): AsyncGenerator<(Entry | Damage)[]> {
  let listed: Entry[] = [];
  let open: Entry[] = [];
  let isDone = false;
  let last = '';
  /** Passes on the batches that sort before `end`, or all: at most a page of objects at a time. */
  async function* passUntil(end: string | undefined): AsyncGenerator<Entry[]> {
    for (;;) {
      while (listed.length === 0 && !isDone) {
        const page = await objects.next();
        if (page.done === true) isDone = true;
        else listed = page.value;
      }
      const lastListed = listed.at(-1)?.rawKey;
      const isInPage = lastListed === undefined || (end !== undefined && end <= lastListed);
      const until = isInPage ? end : `${lastListed}\0`;
      const isDue = ({ rawKey }: Entry) => until === undefined || rawKey < until;
      const due = [...listed.filter(isDue), ...open.filter(isDue)].sort(byRawKey);
      listed = listed.filter((each) => !isDue(each));
      open = open.filter((each) => !isDue(each));
      const distinct = due.filter(({ rawKey }, at) => rawKey !== (due[at - 1]?.rawKey ?? last));
      last = due.at(-1)?.rawKey ?? last;
      if (distinct.length > 0) yield distinct;
      if (isInPage) return;
    }
  }
  for await (const group of groups) {
    yield* passUntil(group.start);
    const damaged: Damage[] = [];
    for (const entry of await group.entries()) {
      if ('damage' in entry) damaged.push(entry as Damage);
      else open.push(entry);
    }
    if (damaged.length > 0) yield damaged;
  }
  yield* passUntil(undefined);
}

function byRawKey(a: Entry, b: Entry): number {
  return a.rawKey < b.rawKey ? -1 : a.rawKey > b.rawKey ? 1 : 0;
}
