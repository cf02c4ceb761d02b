import { hash } from 'node:crypto';

import {
  mergeIncrements,
  rowsOfIncrements,
  typeStateKey,
  type Increments,
} from '../../../src/domain/counter.ts';
import {
  chunkKey,
  messageKey,
  type LedgerKey,
} from '../../../src/engines/aws/ledger/ledger-table.ts';
import { deadLetterAttributes } from '../../../src/engines/aws/dead-letters/dead-letter-queue.ts';
import { dayMs, keepMs, receiptsOf } from './aws-functions.ts';
import {
  carriedBodies,
  cutAgain,
  excludedOf,
  inflated,
  incrementsOfItem,
  type RecountedChunk,
} from './aws-recount.ts';
import type { Item } from '../simulated-aws/aws-simulated-dynamodb.ts';
import type { SimulatedMessage } from '../simulated-aws/aws-simulated-sqs.ts';
import type { Post } from './aws-traffic.ts';
import { retentionMs, Violation, type World } from './aws-world.ts';

const ageMsMax = keepMs - 7 * dayMs;

interface StoredBody {
  readonly rawKey: string;
  readonly bodyHash: string;
  readonly chunks: readonly RecountedChunk[];
  readonly excluded: number;
}

/** Compares the state at rest with a recount of what was received. @throws {Violation} */
export async function judge(world: World, posts: readonly Post[]): Promise<void> {
  const objects = await world.backend.objects();
  const bodies = [...objects].filter(([key]) => key.startsWith('raw/'));
  const stored = bodies.map(([rawKey, object]): StoredBody => {
    const bodyHash = hash('sha256', inflated(object));
    const excluded = excludedOf(rawKey, object, (key) => objects.get(key)?.body);
    const chunks = cutAgain(rawKey, object, excluded);
    return { rawKey, bodyHash, chunks, excluded: excluded.length };
  });
  for (const { rawKey, object, chunks } of [...objects].flatMap(([key, { body }]) =>
    carriedBodies(key, body),
  )) {
    if (stored.some((each) => each.rawKey === rawKey)) continue;
    stored.push({ rawKey, bodyHash: hash('sha256', inflated(object)), chunks, excluded: 0 });
  }
  const deadLetters = [...world.backend.deadLetters.messages.values()];
  const deadLettered = checkDeadLetters(world, deadLetters);
  checkCounters(await world.backend.counters(), expectedOf(world, stored, deadLettered));
  for (const post of posts) checkStored(post, stored, posts);
  for (const post of posts) await checkReceipts(world, post, stored, deadLettered);
}

/** The sum of everything stored and queued, except messages reported as too old. */
function expectedOf(
  world: World,
  stored: readonly StoredBody[],
  deadLettered: ReadonlySet<string>,
): Increments {
  const expected: Increments = new Map();
  for (const chunk of stored.flatMap(({ chunks }) => chunks)) {
    if (!isLost(world, dedupKeyOf(chunk), deadLettered))
      mergeIncrements(expected, chunk.increments);
  }
  for (const { id, item } of world.foreign) {
    const dedupKey = textOf(messageKey(id, 'counted'));
    if (!isLost(world, dedupKey, deadLettered)) mergeIncrements(expected, incrementsOfItem(item));
  }
  return expected;
}

/** What stays a dead letter or is dropped, and was never counted before. */
function isLost(world: World, dedupKey: string, deadLettered: ReadonlySet<string>): boolean {
  return (
    (deadLettered.has(dedupKey) || world.dropped.has(dedupKey)) && !world.countedKeys.has(dedupKey)
  );
}

/** The dedup keys of dead letters that are too old. Checks the reason of each dead letter. */
function checkDeadLetters(
  world: World,
  deadLetters: readonly SimulatedMessage[],
): ReadonlySet<string> {
  const deadLettered = new Set<string>();
  const seen = new Map<string, number>();
  for (const deadLetter of deadLetters) {
    const { id, body, attributes } = deadLetter;
    const originalId = attributes[deadLetterAttributes.originalId] ?? id;
    const reason = attributes[deadLetterAttributes.reason] ?? 'none';
    const garbage = world.garbage.find((each) => each.id === originalId);
    const foreign = world.foreignOf(deadLetter);
    if (garbage !== undefined) {
      seen.set(originalId, (seen.get(originalId) ?? 0) + 1);
      if (garbage.body !== body || !reason.startsWith(`${garbage.reason}: `)) {
        throw new Violation(`garbage ${body} is a dead letter because of ${reason}`);
      }
    } else if (foreign !== undefined) {
      const ageMs = world.scheduler.now - foreign.sentAt;
      if (ageMs < retentionMs) throw new Violation(`an item is a dead letter because of ${reason}`);
      deadLettered.add(textOf(messageKey(foreign.id, 'counted')));
    } else if (/^(?:too_old: |not_counted: |none$)/.test(reason)) {
      // The schedule redrives what the processor failed to count until it is too old.
      const chunk = JSON.parse(body) as DeadChunk;
      if (world.scheduler.now - Date.parse(chunk.received_at) < ageMsMax) {
        throw new Violation(
          `a chunk received ${chunk.received_at} is a dead letter because of ${reason}`,
        );
      }
      deadLettered.add(textOf(chunkKey(chunk.batch_id, chunk.index ?? 0)));
    } else {
      throw new Violation(`a dead letter has the reason ${reason}: ${body.slice(0, 200)}`);
    }
  }
  for (const { id, body, isDisturbed } of world.garbage) {
    const count = seen.get(id) ?? 0;
    if (world.dropped.has(textOf(messageKey(id, 'counted')))) continue;
    if (count === 0 || (count > 1 && !isDisturbed)) {
      throw new Violation(`garbage ${body} is ${count} times among the dead letters`);
    }
  }
  return deadLettered;
}

interface DeadChunk {
  readonly batch_id: string;
  /** A message that carries its body has none. */
  readonly index?: number;
  readonly received_at: string;
}

const attributesOfCounter = 'count,date,state,type,type_state';

function checkCounters(items: readonly Item[], expected: Increments): void {
  const counts = new Map<string, number>();
  for (const item of items) {
    const names = Object.keys(item).sort().join();
    if (names !== attributesOfCounter) throw new Violation(`a counter has ${names}`);
    counts.set(`${item['date']?.S ?? ''} ${item['type_state']?.S ?? ''}`, Number(item['count']?.N));
  }
  const differences: string[] = [];
  for (const { date, type, state, count } of rowsOfIncrements(expected)) {
    const name = `${date} ${typeStateKey(type, state)}`;
    const found = counts.get(name) ?? 0;
    counts.delete(name);
    if (found !== count) differences.push(`${name} is ${found} and should be ${count}`);
  }
  for (const [name, found] of counts) differences.push(`${name} is ${found} and should not be`);
  if (differences.length > 0) {
    const shown = differences.slice(0, 5).join('; ');
    throw new Violation(`${differences.length} counters are wrong: ${shown}`);
  }
}

/** A batch answered 200 is stored, once under each key, and all responses name the same batch. */
function checkStored(post: Post, stored: readonly StoredBody[], posts: readonly Post[]): void {
  const hashOf = ({ body }: Post) => hash('sha256', body);
  const own = stored.filter(({ bodyHash }) => bodyHash === hashOf(post));
  const named = new Set(post.acknowledged.map(({ rawKey }) => rawKey));
  for (const rawKey of named) {
    if (!own.some((each) => each.rawKey === rawKey)) throw new Violation(`${rawKey} is not stored`);
  }
  for (const { enqueued, rawKey } of post.acknowledged) {
    const excluded = own.find((each) => each.rawKey === rawKey)?.excluded ?? 0;
    if (enqueued !== post.accepted - excluded) throw new Violation(`${enqueued} were answered`);
  }
  if (post.key === undefined) {
    if (named.size < post.acknowledged.length) throw new Violation('two batches are one');
    return;
  }
  const answers = new Set(post.acknowledged.map(({ answer }) => answer));
  if (answers.size > 1) throw new Violation(`one batch is answered as ${[...answers].join('; ')}`);
  const hashes = posts.filter(({ key }) => key === post.key).map(hashOf);
  const ofKey = stored.filter(({ bodyHash }) => hashes.includes(bodyHash));
  if (ofKey.length > 1 || named.size > 1) {
    throw new Violation(`${ofKey.length} bodies are stored under the key ${post.key}`);
  }
}

async function checkReceipts(
  world: World,
  post: Post,
  stored: readonly StoredBody[],
  deadLettered: ReadonlySet<string>,
): Promise<void> {
  for (const { rawKey, batchId, enqueued } of post.acknowledged) {
    const chunks = stored.find((each) => each.rawKey === rawKey)?.chunks ?? [];
    const receivedAt = chunks[0]?.receivedAt ?? 0;
    if (chunks.length > 0 && world.scheduler.now - receivedAt > ageMsMax) continue;
    if (chunks.some((chunk) => deadLettered.has(dedupKeyOf(chunk)))) continue;
    const receipt = await world.ask((self) => receiptsOf(world, self).find(batchId));
    if (chunks.length === 0 && receipt === undefined) continue;
    const lost = chunks.filter((chunk) => isLost(world, dedupKeyOf(chunk), deadLettered));
    const missing = lost.reduce((sum, { increments }) => sum + itemsOf(increments), 0);
    const status = missing === 0 ? 'counted' : 'pending';
    const isRight =
      receipt?.status === status &&
      receipt.counted === enqueued - missing &&
      receipt.rawKey === rawKey;
    if (!isRight) throw new Violation(`${rawKey} has the receipt ${JSON.stringify(receipt)}`);
  }
}

function itemsOf(increments: Increments): number {
  return [...rowsOfIncrements(increments)].reduce((sum, { count }) => sum + count, 0);
}

function dedupKeyOf({ batchId, index }: RecountedChunk): string {
  return textOf(chunkKey(batchId, index));
}

function textOf({ id, entry }: LedgerKey): string {
  return `${id} ${entry}`;
}
