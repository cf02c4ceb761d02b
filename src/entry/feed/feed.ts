import { randomBytes, randomUUID } from 'node:crypto';

import type { Client, PostOutcome } from '../../client/index.ts';
import { sleep } from '../../client/post-batch.ts';
import { amountOf, withThousands } from '../../util/thousands.ts';
import type { FeedOptions } from './feed-options.ts';
import { openProgress } from '../cli/progress.ts';
import { randomBody, type RandomFeed } from './random-events.ts';
import {
  commandClient,
  forEachConcurrently,
  describeOutcome,
  affectsAllBatches,
  watchInterrupt,
  type Interruption,
} from '../cli/sending.ts';
import { visible } from '../cli/terminal-text.ts';

interface FeedSummary {
  batches: { sent: number; accepted: number; refused: number; gave_up: number };
  items: { sent: number; accepted: number; refused: number };
  retries: number;
  /** The first few failures, as messages. */
  troubles: string[];
}

const troublesMax = 5;

/** Posts random events and prints how many were accepted. Returns the exit code. */
export async function feed(options: FeedOptions): Promise<number> {
  const events: RandomFeed = {
    seed: options.seed ?? randomBytes(6).toString('hex'),
    itemsPerBatch: options.items,
    days: options.days,
    untilMs: options.until ?? Date.now(),
  };
  const client = commandClient(options);
  const summary: FeedSummary = {
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
      count(summary, options.items, outcome);
      if (affectsAllBatches(outcome)) interruption.stop();
      const { sent, accepted } = summary.items;
      progress.update(sent, `${amountOf(accepted, 'item')} accepted`);
    });
  } finally {
    progress.stop();
    interruption.dispose();
  }
  report(options, events, client, summary, (performance.now() - startedAt) / 1000);
  if (interruption.isByUser()) return interruption.exitCode();
  return summary.batches.accepted === options.batches && summary.items.refused === 0 ? 0 : 1;
}

async function send(
  options: FeedOptions,
  events: RandomFeed,
  client: Client,
  { stopping, aborting }: Interruption,
  onOutcome: (outcome: PostOutcome) => void,
): Promise<void> {
  // Each run has its own keys, so that the same events count again.
  const run = randomUUID();
  const due = paced(options, stopping);
  await forEachConcurrently(due, options.concurrency, stopping, async (index) => {
    const batch = { body: randomBody(events, index), key: `feed-${run}-${index}` };
    onOutcome(await client.sendBatch(batch, aborting));
  });
}

/** Yields the number of each batch when it is due. After a delay it does not catch up with a burst. */
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

function count(summary: FeedSummary, items: number, outcome: PostOutcome): void {
  summary.batches.sent += 1;
  summary.items.sent += items;
  summary.retries += outcome.attempts - 1;
  summary.batches[outcome.kind] += 1;
  if (outcome.kind === 'accepted') {
    summary.items.accepted += outcome.enqueued;
    summary.items.refused += outcome.rejected;
  } else if (outcome.kind === 'refused') summary.items.refused += items;
  const trouble = describeOutcome(outcome);
  if (trouble === undefined || summary.troubles.includes(trouble)) return;
  if (summary.troubles.length < troublesMax) summary.troubles.push(trouble);
}

function report(
  options: FeedOptions,
  events: RandomFeed,
  client: Client,
  summary: FeedSummary,
  seconds: number,
): void {
  const { troubles, ...counts } = summary;
  for (const trouble of troubles) process.stderr.write(`device-pipeline: ${visible(trouble)}\n`);
  const perSecond = Math.round(counts.items.accepted / seconds);
  const until = new Date(events.untilMs).toISOString();
  if (options.json) {
    const timing = { seconds: Number(seconds.toFixed(3)), items_per_second: perSecond };
    const output = { url: options.url, seed: events.seed, until, ...counts, ...timing };
    process.stdout.write(`${JSON.stringify(output)}\n`);
    return;
  }
  if (!client.hasReached) return;
  const { batches, items } = counts;
  const outcomes = ({ sent, accepted, refused }: typeof items, word: 'refused' | 'rejected') =>
    `${withThousands(sent)} sent, ${withThousands(accepted)} accepted, ${withThousands(refused)} ${word}`;
  const gaveUp =
    batches.gave_up === 0 ? '' : `, ${withThousands(batches.gave_up)} without a response`;
  process.stdout.write(
    [
      `batches  ${outcomes(batches, 'refused')}${gaveUp}`,
      `items    ${outcomes(items, 'rejected')}`,
      `time     ${seconds.toFixed(1)} s, ${withThousands(perSecond)} items/s, ${amountOf(counts.retries, 'retry')}`,
      `again    --seed ${events.seed} --until ${until}`,
      '',
    ].join('\n'),
  );
}
