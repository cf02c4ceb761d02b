import { createHash, randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';

import type { ItemError, PostOutcome } from '../client/index.ts';
import type { IngestOptions } from './ingest-options.ts';
import type { Pack } from './pack-items.ts';
import { grouped, openProgress } from './progress.ts';
import { readPacks } from './read-packs.ts';
import {
  commandClient,
  forEachConcurrently,
  inWords,
  isHopeless,
  watchInterrupt,
  type Interruption,
} from './sending.ts';
import { jsonText, visible } from './terminal-text.ts';

/**
 * What became of a file. Items are numbered from 1; `unconfirmed` ones were sent and never
 * answered for. The `field` of an error is null where it is the item as a whole.
 */
interface FileReport {
  file: string;
  items: number;
  accepted: number;
  refused: number;
  unconfirmed: number;
  errors: { item: number; field: string | null; code: string; message: string }[];
  troubles: string[];
}

interface Run {
  key: string;
  files: FileReport[];
  batches: { accepted: number; refused: number; gave_up: number };
  retries: number;
  /** Why the run ended before its time. */
  failure: string | undefined;
  bytesRead: number;
}

interface Outgoing extends Pack {
  key: string;
  report: FileReport;
}

const listedMax = 20;
const troublesMax = 5;

/** Posts files and prints what became of their items. Returns the exit code. */
export async function ingest(options: IngestOptions): Promise<number> {
  const bytesTotal = await totalSize(options.files);
  const run: Run = {
    key: options.key ?? randomUUID(),
    files: [],
    batches: { accepted: 0, refused: 0, gave_up: 0 },
    retries: 0,
    failure: undefined,
    bytesRead: 0,
  };
  const client = commandClient(options);
  const startedAt = performance.now();
  const interruption = watchInterrupt();
  const { stopping, leaving } = interruption;
  const progress = openProgress(bytesTotal);
  try {
    await forEachConcurrently(
      outgoing(options, run, stopping),
      options.concurrency,
      stopping,
      async (batch) => {
        const { body, key } = batch;
        const sent = client.sendBatch({ body, key, strict: options.strict }, leaving);
        record(run, batch, await sent, interruption);
        progress.update(run.bytesRead, `${grouped(sum(run, 'accepted'))} items accepted`);
      },
    );
  } finally {
    progress.stop();
    interruption.dispose();
  }
  if (interruption.isByUser()) run.failure ??= 'interrupted';
  const seconds = (performance.now() - startedAt) / 1000;
  if (options.json) reportJson(options, run, seconds);
  else
    report(options, run, seconds, client.hasReached || run.files.every(({ items }) => items === 0));
  if (interruption.isByUser()) return interruption.exitCode();
  return run.failure === undefined && sum(run, 'refused') + sum(run, 'unconfirmed') === 0 ? 0 : 1;
}

/**
 * The size of all files, once it is certain that each is there; undefined with standard input
 * among them.
 */
async function totalSize(files: readonly string[]): Promise<number | undefined> {
  let bytes = 0;
  for (const file of files) {
    if (file === '-') continue;
    const entry = await stat(file);
    if (entry.isDirectory()) throw new Error(`${file} is a directory`);
    bytes += entry.size;
  }
  return files.includes('-') ? undefined : bytes;
}

/**
 * The batches of all files. Where a file cannot be read on, what is left of it and later files
 * are not sent.
 */
async function* outgoing(
  options: IngestOptions,
  run: Run,
  stopping: AbortSignal,
): AsyncGenerator<Outgoing, void> {
  const keyOf = keys(run.key, options.files.length > 1);
  for (const file of options.files) {
    const report = {
      file,
      items: 0,
      accepted: 0,
      refused: 0,
      unconfirmed: 0,
      errors: [],
      troubles: [],
    };
    run.files.push(report);
    const onBytes = (bytes: number) => (run.bytesRead += bytes);
    try {
      let ordinal = 0;
      for await (const pack of readPacks(file, options, stopping, onBytes)) {
        report.items += pack.items;
        yield { ...pack, key: keyOf(pack.body, ordinal), report };
        ordinal += 1;
      }
    } catch (error) {
      if (stopping.aborted) return;
      run.failure = `${file}: ${error instanceof Error ? error.message : String(error)}`;
      return;
    }
  }
}

/**
 * A batch's key: the same for the same bytes in the same place of a file under the same name,
 * whatever other files are beside it. Equal batches of several files are told apart by counting
 * them.
 */
function keys(
  name: string,
  hasSeveralFiles: boolean,
): (body: Uint8Array, ordinal: number) => string {
  const seen = new Map<string, number>();
  return (body, ordinal) => {
    const key = `${name}/${ordinal}/${createHash('sha256').update(body).digest('base64url')}`;
    if (!hasSeveralFiles) return key;
    const times = seen.get(key) ?? 0;
    seen.set(key, times + 1);
    return times === 0 ? key : `${key}/${times}`;
  };
}

function record(run: Run, batch: Outgoing, outcome: PostOutcome, interruption: Interruption): void {
  const { report } = batch;
  run.retries += outcome.attempts - 1;
  switch (outcome.kind) {
    case 'accepted':
      run.batches.accepted += 1;
      report.accepted += outcome.enqueued;
      report.refused += outcome.rejected;
      list(report, batch, outcome.errors);
      break;
    case 'refused':
      run.batches.refused += 1;
      report.refused += batch.items;
      list(report, batch, outcome.errors);
      explain(report, batch, `${outcome.status} ${outcome.code}: ${outcome.detail}`);
      break;
    case 'gave_up':
      run.batches.gave_up += 1;
      report.unconfirmed += batch.items;
  }
  if (!isHopeless(outcome)) return;
  run.failure ??= inWords(outcome);
  interruption.stop();
}

/** Batches are answered in any order; what is listed of a file are its first refused items. */
function list(report: FileReport, { firstItem }: Outgoing, errors: readonly ItemError[]): void {
  report.errors.push(
    ...errors.map(({ index, ...error }) => ({ item: firstItem + index + 1, ...error })),
  );
  report.errors.sort((a, b) => a.item - b.item).splice(listedMax);
}

function explain(report: FileReport, { firstItem, items }: Outgoing, reason: string): void {
  if (report.troubles.length === troublesMax) return;
  report.troubles.push(
    `items ${firstItem + 1} to ${firstItem + items} were refused together: ${reason}`,
  );
}

function sum(run: Run, what: 'items' | 'accepted' | 'refused' | 'unconfirmed'): number {
  return run.files.reduce((total, report) => total + report[what], 0);
}

function reportJson(options: IngestOptions, run: Run, seconds: number): void {
  const { key, files, batches, retries, failure = null } = run;
  const summary = {
    url: options.url,
    key,
    failure,
    batches,
    retries,
    seconds: Number(seconds.toFixed(3)),
    files,
  };
  process.stdout.write(`${jsonText(summary)}\n`);
}

function report(options: IngestOptions, run: Run, seconds: number, withSummary: boolean): void {
  const complain = (text: string) => process.stderr.write(`${visible(text)}\n`);
  for (const { file, errors, troubles, refused } of run.files) {
    for (const { item, field, code, message } of errors) {
      const place = field === null ? `item ${item}` : `item ${item}: ${field}`;
      complain(`${file}: ${place}: ${code}: ${message}`);
    }
    if (errors.length > 0 && refused > errors.length)
      complain(`${file}: ${refused} items refused in all`);
    for (const trouble of troubles) complain(`${file}: ${trouble}`);
  }
  if (run.failure !== undefined) complain(`device-pipeline: ${run.failure}`);
  if (!withSummary) return;

  const { batches } = run;
  const accepted = sum(run, 'accepted');
  const unconfirmed = sum(run, 'unconfirmed');
  const isComplete =
    run.failure === undefined && unconfirmed === 0 && run.files.length === options.files.length;
  const perSecond = grouped(Math.round(accepted / seconds));
  const lines = [
    `batches  ${inNumbers(batches.accepted, batches.refused, batches.gave_up)}`,
    `items    ${inNumbers(accepted, sum(run, 'refused'), unconfirmed)}`,
    `time     ${seconds.toFixed(1)} s, ${perSecond} items/s, ${grouped(run.retries)} retries`,
    ...(isComplete ? [] : [`again    the same command with --key ${run.key} counts nothing twice`]),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

function inNumbers(accepted: number, refused: number, unanswered: number): string {
  const rest = unanswered === 0 ? '' : `, ${grouped(unanswered)} without an answer`;
  return `${grouped(accepted)} accepted, ${grouped(refused)} refused${rest}`;
}
