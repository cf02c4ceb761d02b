import { createHash, randomUUID } from 'node:crypto';

import type { Client } from '../../client/index.ts';
import { readBatch } from '../../domain/batch.ts';
import { amountOf } from '../../util/thousands.ts';
import type { IngestOptions } from './ingest-options.ts';
import {
  recordRefusedBatch,
  listBadLine,
  listItems,
  newFileReport,
  recordOutcome,
  report,
  reportJson,
  sum,
  type FileReport,
  type IngestRun,
} from './ingest-report.ts';
import { openInputs, rereadable, type Input } from './inputs.ts';
import type { Pack } from './pack-items.ts';
import { openProgress } from '../cli/progress.ts';
import { readPacks, type ReadingState } from './read-packs.ts';
import {
  commandClient,
  forEachConcurrently,
  describeOutcome,
  affectsAllBatches,
  watchInterrupt,
  type Interruption,
} from '../cli/sending.ts';

interface Outgoing extends Pack {
  readonly report: FileReport;
}

/** Posts files and prints how many items were accepted. Returns the exit code. */
export async function ingest(options: IngestOptions): Promise<number> {
  const inputs = await openInputs(options.files);
  const run: IngestRun = {
    key: options.key ?? randomUUID(),
    files: [],
    batches: { accepted: 0, refused: 0, gave_up: 0 },
    retries: 0,
    failure: undefined,
    isInterrupted: false,
    isRepeatable: true,
  };
  const client = commandClient(options);
  const startedAt = performance.now();
  const interruption = watchInterrupt();
  try {
    if (options.strict) await checkAndSend(options, inputs, run, client, interruption);
    else await send(options, inputs, run, client, interruption);
  } finally {
    interruption.dispose();
  }
  run.isInterrupted = interruption.isByUser();
  if (run.isInterrupted) run.failure ??= 'interrupted';
  const seconds = (performance.now() - startedAt) / 1000;
  if (options.json) reportJson(options, run, seconds);
  else
    report(options, run, seconds, client.hasReached || run.files.every(({ items }) => items === 0));
  if (run.isInterrupted) return interruption.exitCode();
  const left = sum(run, 'refused') + sum(run, 'unconfirmed') + sum(run, 'bad_lines');
  return run.failure === undefined && left === 0 ? 0 : 1;
}

const interruptedBefore = 'interrupted; nothing was sent, because --strict checks everything first';

/** Sends nothing unless all lines and items of all inputs are valid. */
async function checkAndSend(
  options: IngestOptions,
  inputs: readonly Input[],
  run: IngestRun,
  client: Client,
  interruption: Interruption,
): Promise<void> {
  const kept: Input[] = [];
  try {
    for (const input of inputs) kept.push(await rereadable(input, interruption.stopping));
    await check(options, kept, run, interruption);
    if (run.failure !== undefined) return;
    if (interruption.stopping.aborted) {
      run.failure = interruptedBefore;
      return;
    }
    run.files = [];
    await send(options, kept, run, client, interruption);
  } catch (error) {
    if (!interruption.stopping.aborted) throw error;
    run.failure = interruptedBefore;
  } finally {
    for (const input of kept) await input.close();
  }
}

async function check(
  options: IngestOptions,
  inputs: readonly Input[],
  run: IngestRun,
  { stopping }: Interruption,
): Promise<void> {
  for await (const batch of outgoing(options, inputs, run, stopping)) {
    const reading = readBatch(batch.body);
    if (!reading.readable)
      recordRefusedBatch(batch.report, batch, `${reading.code}: ${reading.detail}`);
    else listItems(batch.report, batch, reading.errors);
    batch.report.refused += reading.readable ? reading.rejected : batch.items;
    batch.report.taken += batch.items;
  }
  const [lines, items] = [sum(run, 'bad_lines'), sum(run, 'refused')];
  if (lines + items === 0 || run.failure !== undefined) return;
  const found = `${amountOf(lines, 'bad line')} and ${amountOf(items, 'bad item')}`;
  run.failure = `nothing was sent: --strict found ${found}`;
}

async function send(
  options: IngestOptions,
  inputs: readonly Input[],
  run: IngestRun,
  client: Client,
  interruption: Interruption,
): Promise<void> {
  const { concurrency, strict = false } = options;
  const { stopping, aborting } = interruption;
  const progress = openProgress(totalOf(inputs));
  const keyOf = keys(run.key, inputs.length > 1);
  try {
    const batches = outgoing(options, inputs, run, stopping);
    await forEachConcurrently(keyed(batches, keyOf), concurrency, stopping, async (batch) => {
      const { body, key, items, report } = batch;
      report.taken += items;
      const outcome = await client.sendBatch({ body, key, strict }, aborting);
      recordOutcome(run, batch, outcome);
      if (affectsAllBatches(outcome)) {
        run.failure ??= describeOutcome(outcome);
        interruption.stop();
      }
      const read = run.files.reduce((bytes, { reading }) => bytes + reading.bytes, 0);
      progress.update(read, `${amountOf(sum(run, 'accepted'), 'item')} accepted`);
    });
  } finally {
    progress.stop();
  }
}

/** The total size in bytes; undefined if one size is unknown. */
function totalOf(inputs: readonly Input[]): number | undefined {
  const sizes = inputs.map(({ bytes }) => bytes ?? Number.NaN);
  const total = sizes.reduce((all, bytes) => all + bytes, 0);
  return Number.isNaN(total) ? undefined : total;
}

/**
 * The batches of all inputs. Stops at the first input that cannot be read: its rest and later inputs
 * are not sent.
 */
async function* outgoing(
  options: IngestOptions,
  inputs: readonly Input[],
  run: IngestRun,
  stopping: AbortSignal,
): AsyncGenerator<Outgoing, void> {
  // With a key, the requests must not depend on how fast the input arrives.
  const isSentSoon = options.key === undefined && options.strict !== true;
  for (const input of inputs) {
    const reading: ReadingState = {
      isLive: input.isLive,
      bytes: 0,
      items: 0,
      unfinishedBytes: 0,
      onBadLine: (bad) => listBadLine(report, bad),
    };
    const report = newFileReport(input.name, reading);
    run.files.push(report);
    try {
      for await (const pack of readPacks(input, { ...options, isSentSoon }, stopping, reading)) {
        report.items += pack.items;
        if (pack.isCutByTime) run.isRepeatable = false;
        yield { ...pack, report };
      }
    } catch (error) {
      if (stopping.aborted) return;
      run.failure = `${input.name}: ${error instanceof Error ? error.message : String(error)}`;
      return;
    }
  }
}

type KeyOf = (file: FileReport, body: Uint8Array) => string;

async function* keyed(
  batches: AsyncGenerator<Outgoing, void>,
  keyOf: KeyOf,
): AsyncGenerator<Outgoing & { readonly key: string }, void> {
  for await (const batch of batches) yield { ...batch, key: keyOf(batch.report, batch.body) };
}

/**
 * Creates idempotency keys from the name, the batch's number in its file and its bytes, so that they do
 * not depend on the other files. Equal batches of several files get a number to tell them apart.
 */
function keys(name: string, hasSeveralFiles: boolean): KeyOf {
  const seen = new Map<string, number>();
  const batchesOf = new Map<FileReport, number>();
  return (file, body) => {
    const ordinal = batchesOf.get(file) ?? 0;
    batchesOf.set(file, ordinal + 1);
    const key = `${name}/${ordinal}/${createHash('sha256').update(body).digest('base64url')}`;
    if (!hasSeveralFiles) return key;
    const times = seen.get(key) ?? 0;
    seen.set(key, times + 1);
    return times === 0 ? key : `${key}/${times}`;
  };
}
