import { gzipSync } from 'node:zlib';

import type { Submission } from '../../../src/pipeline/ports.ts';
import type { Random } from '../simulated-aws/aws-random.ts';

export interface Item {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
}

/** A response 200. */
export interface Acknowledgement {
  readonly rawKey: string;
  readonly batchId: string;
  readonly enqueued: number;
  /** The body of the response, as JSON. */
  readonly answer: string;
  readonly at: number;
}

/** A batch of a client, and the results of its attempts. */
export interface Post {
  /** An extra member of the body, by which the test finds it in the raw store. */
  readonly marker: string;
  readonly key: string | undefined;
  readonly body: Buffer;
  readonly gzips: boolean;
  readonly accepted: number;
  attemptsLeft: number;
  firstAt: number | undefined;
  readonly acknowledged: Acknowledgement[];
  /** The codes of responses that were not 200. */
  readonly refused: string[];
}

const timestamps = ['2023-06-16T13:00:00Z', '2023-06-16T23:30:00-05:00', '2023-06-17T00:00:00Z'];

/** More counters than fit into one chunk: a packed batch has two or three. */
const wideItems = [85, 161];

export function makePosts(random: Random, count: number): Post[] {
  const posts = Array.from({ length: count }, (_, serial) => makePost(random, serial));
  const [first] = posts;
  // Another body under the same key: at most one of the two is accepted.
  if (first?.key === undefined || !random.chance(0.15)) return posts;
  const rival = { ...makePost(random, count), key: first.key };
  return [first, rival, ...posts.slice(1)];
}

function makePost(random: Random, serial: number): Post {
  const marker = `batch ${serial}`;
  const items: object[] = makeItems(random, serial);
  const accepted = items.length;
  if (accepted > 0 && random.chance(0.15)) items.splice(random.below(accepted), 0, { type: 'x' });
  return {
    ...{ marker, accepted },
    key: random.chance(0.6) ? `key ${serial}` : undefined,
    body: Buffer.from(JSON.stringify({ marker, processed_devices: items })),
    gzips: random.chance(0.25),
    attemptsLeft: 1 + random.below(4),
    firstAt: undefined,
    acknowledged: [],
    refused: [],
  };
}

function makeItems(random: Random, serial: number): Item[] {
  const timestamp = random.pick(timestamps);
  if (random.chance(0.1)) {
    const length = random.pick(wideItems);
    return Array.from({ length }, (_, at) => ({ type: `wide ${at}`, state: 'on', timestamp }));
  }
  return Array.from({ length: random.below(7) }, (_, at) => ({
    // Counters that all batches share, and some of a single batch.
    type: random.chance(0.6) ? random.pick(['lamp', 'a#b', 'ä']) : `own ${serial}`,
    state: at % 2 === 0 ? 'on' : 'off',
    timestamp: random.pick(timestamps),
  }));
}

export function submissionOf({ body, gzips, key }: Post, level: number): Submission {
  return {
    body: gzips ? gzipSync(body, { level }) : body,
    encoding: gzips ? 'gzip' : 'identity',
    strict: false,
    caller: 'client',
    idempotencyKey: key,
  };
}

export function foreignItem(random: Random): Item {
  return { type: random.pick(['lamp', 'foreign']), state: 'on', timestamp: '2023-06-17T01:00:00Z' };
}

/** Uncountable bodies, and the start of the reason with which each is dead-lettered. */
export const garbage: readonly { readonly body: string; readonly reason: string }[] = [
  { body: 'not json', reason: 'invalid_json' },
  { body: '[]', reason: 'invalid_message' },
  { body: '{"type":"lamp"}', reason: 'invalid_item' },
  { body: '{"version":9,"batch_id":"x","items":[]}', reason: 'unsupported_version' },
];
