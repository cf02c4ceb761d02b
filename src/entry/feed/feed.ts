import { randomBytes, randomUUID } from 'node:crypto';

import type { Client, PostOutcome } from '../../client/index.ts';
import { sleep } from '../../client/post-batch.ts';
import type { FeedOptions } from './feed-options.ts';
import { grouped, openProgress } from '../cli/progress.ts';
import { randomBody, type RandomFeed } from './random-events.ts';
import {
  commandClient,
  forEachConcurrently,
  inWords,
  isHopeless,
  watchInterrupt,
  type Interruption,
} from '../cli/sending.ts';
import { visible } from '../cli/terminal-text.ts';

interface Tally {
  batches: { sent: number; accepted: number; refused: number; gave_up: number };
  items: { sent: number; accepted: number; refused: number };
  retries: number;
  /** The first few refusals, in words. */
  troubles: string[];
}

const troublesMax = 5;

/** Posts random events and prints what became of them. Returns the exit code. */
export async function feed(options: FeedOptions): Promise<number> {
  const events: RandomFeed = {
    seed: options.seed ?? randomBytes(6).toString('hex'),
    itemsPerBatch: options.items,
    days: options.days,
    untilMs: options.untilMs ?? Date.now(),
  };
  const client = commandClient(options);
  const tally: Tally = {
    batches: { sent: 0, accepted: 0, refused: 0, gave_up: 0 },
    items: { sent: 0, accepted: 0, refused: 0 },
    retries: 0,
    troubles: [],
  };
  const startedAt = performance.now();
  const interruption = watchInterrupt();
  const progress = openProgress(options.batches * options.items);
  try {
    await send(options, events, client, interruption, (outcome) => {
      count(tally, options.items, outcome);
      if (isHopeless(outcome)) interruption.stop();
      progress.update(tally.items.sent, `${grouped(tally.items.accepted)} items accepted`);
    });
  } finally {
    progress.stop();
    interruption.dispose();
  }
  report(options, events, client, tally, (performance.now() - startedAt) / 1000);
  if (interruption.isByUser()) return interruption.exitCode();
  return tally.batches.accepted === options.batches && tally.items.refused === 0 ? 0 : 1;
}

async function send(
  options: FeedOptions,
  events: RandomFeed,
  client: Client,
  { stopping, leaving }: Interruption,
  onOutcome: (outcome: PostOutcome) => void,
): Promise<void> {
  // Keys differ from run to run: the same events sent again are meant to count again.
  const run = randomUUID();
  await forEachConcurrently(
    paced(options, stopping),
    options.concurrency,
    stopping,
    async (index) => {
      const batch = { body: randomBody(events, index), key: `feed-${run}-${index}` };
      onOutcome(await client.sendBatch(batch, leaving));
    },
  );
}

/** The numbers of the batches, each when it is due. A late one is not made up for by a burst. */
async function* paced(options: FeedOptions, stopping: AbortSignal): AsyncGenerator<number, void> {
  const intervalMs = options.rate === undefined ? 0 : (options.items / options.rate) * 1000;
  let dueAt = performance.now();
  for (let index = 0; index < options.batches; index += 1) {
    const waitMs = dueAt - performance.now();
    if (waitMs > 0) await sleep(waitMs, stopping);
    if (stopping.aborted) return;
    yield index;
    dueAt = Math.max(dueAt, performance.now() - intervalMs) + intervalMs;
  }
}

function count(tally: Tally, items: number, outcome: PostOutcome): void {
  const { batches } = tally;
  batches.sent += 1;
  tally.items.sent += items;
  tally.retries += outcome.attempts - 1;
  switch (outcome.kind) {
    case 'accepted':
      batches.accepted += 1;
      tally.items.accepted += outcome.enqueued;
      tally.items.refused += outcome.rejected;
      break;
    case 'refused':
      batches.refused += 1;
      tally.items.refused += items;
      break;
    case 'gave_up':
      batches.gave_up += 1;
  }
  const trouble = inWords(outcome);
  if (
    trouble !== undefined &&
    tally.troubles.length < troublesMax &&
    !tally.troubles.includes(trouble)
  ) {
    tally.troubles.push(trouble);
  }
}

function report(
  options: FeedOptions,
  events: RandomFeed,
  client: Client,
  tally: Tally,
  seconds: number,
): void {
  const { troubles, ...counts } = tally;
  for (const trouble of troubles) process.stderr.write(`device-pipeline: ${visible(trouble)}\n`);
  const perSecond = Math.round(counts.items.accepted / seconds);
  const until = new Date(events.untilMs).toISOString();
  if (options.json) {
    const timing = { seconds: Number(seconds.toFixed(3)), items_per_second: perSecond };
    const summary = { url: options.url, seed: events.seed, until, ...counts, ...timing };
    process.stdout.write(`${JSON.stringify(summary)}\n`);
    return;
  }
  if (!client.hasReached) return;
  const { batches, items } = counts;
  const retries = grouped(counts.retries);
  const outcomes = ({ sent, accepted, refused }: typeof items) =>
    `${grouped(sent)} sent, ${grouped(accepted)} accepted, ${grouped(refused)} refused`;
  const gaveUp = batches.gave_up === 0 ? '' : `, ${grouped(batches.gave_up)} without an answer`;
  process.stdout.write(
    [
      `batches  ${outcomes(batches)}${gaveUp}`,
      `items    ${outcomes(items)}`,
      `time     ${seconds.toFixed(1)} s, ${grouped(perSecond)} items/s, ${retries} retries`,
      `again    --seed ${events.seed} --until ${until}`,
      '',
    ].join('\n'),
  );
}
