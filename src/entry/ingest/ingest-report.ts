import type { ItemError, PostOutcome } from '../../client/index.ts';
import { amountOf, withThousands } from '../../util/thousands.ts';
import type { IngestOptions } from './ingest-options.ts';
import type { Pack } from './pack-items.ts';
import type { ReadingState } from './read-packs.ts';
import { affectsAllBatches } from '../cli/sending.ts';
import type { BadLine } from './split-lines.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';

/**
 * The result for one file. Items and lines are numbered from 1; `unconfirmed` items were sent, but got
 * no response. The `field` of an error is null if it concerns the whole item.
 */
export interface FileReport {
  readonly file: string;
  readonly reading: ReadingState;
  items: number;
  /** Items in requests that were started. */
  taken: number;
  accepted: number;
  refused: number;
  unconfirmed: number;
  bad_lines: number;
  /** The first few; the same holds for `errors` and `troubles`. */
  readonly lines: BadLine[];
  readonly errors: RefusedItem[];
  readonly troubles: string[];
}

interface RefusedItem {
  readonly item: number;
  readonly line: number | null;
  readonly field: string | null;
  readonly code: string;
  readonly message: string;
}

/** The result for all files. */
export interface IngestRun {
  readonly key: string;
  files: FileReport[];
  readonly batches: { accepted: number; refused: number; gave_up: number };
  retries: number;
  /** Why the run ended early. */
  failure: string | undefined;
  isInterrupted: boolean;
  /** Whether the same command with the same key would send the same requests. */
  isRepeatable: boolean;
}

function printWarning(text: string): void {
  process.stderr.write(`${visible(text)}\n`);
}

const listedMax = 20;
const troublesMax = 5;

export function newFileReport(file: string, reading: ReadingState): FileReport {
  const counts = { items: 0, taken: 0, accepted: 0, refused: 0, unconfirmed: 0, bad_lines: 0 };
  return { file, reading, ...counts, lines: [], errors: [], troubles: [] };
}

export function listBadLine(report: FileReport, bad: BadLine): void {
  report.bad_lines += 1;
  if (report.lines.length === listedMax) return;
  report.lines.push(bad);
  if (report.reading.isLive) printWarning(`${report.file}: ${bad.message}`);
}

export function recordOutcome(
  run: IngestRun,
  batch: Pack & { readonly report: FileReport },
  outcome: PostOutcome,
): void {
  const { report } = batch;
  run.retries += outcome.attempts - 1;
  run.batches[outcome.kind] += 1;
  if (outcome.kind === 'gave_up') {
    report.unconfirmed += batch.items;
    return;
  }
  listItems(report, batch, outcome.errors);
  if (outcome.kind === 'accepted') {
    report.accepted += outcome.enqueued;
    report.refused += outcome.rejected;
    return;
  }
  report.refused += batch.items;
  // A failure of every batch ends the run, which reports it once.
  if (affectsAllBatches(outcome)) return;
  recordRefusedBatch(report, batch, `${outcome.status} ${outcome.code}: ${outcome.detail}`);
}

/** Lists the first rejected items of the file; the responses come in any order. */
export function listItems(
  report: FileReport,
  { firstItem, lines }: Pack,
  errors: readonly ItemError[],
): void {
  report.errors.push(
    ...errors.map(({ index, ...error }) => ({
      item: firstItem + index + 1,
      line: lines[index] ?? null,
      ...error,
    })),
  );
  report.errors.sort((a, b) => a.item - b.item).splice(listedMax);
}

export function recordRefusedBatch(
  report: FileReport,
  { firstItem, items }: Pack,
  reason: string,
): void {
  if (report.troubles.length === troublesMax) return;
  report.troubles.push(
    `items ${firstItem + 1} to ${firstItem + items} were refused as a batch: ${reason}`,
  );
}

export function sum(
  run: IngestRun,
  what: 'items' | 'accepted' | 'refused' | 'unconfirmed' | 'bad_lines',
): number {
  return run.files.reduce((total, report) => total + report[what], 0);
}

export function reportJson(options: IngestOptions, run: IngestRun, seconds: number): void {
  const { key, batches, retries, failure = null } = run;
  const files = run.files.map(({ reading, taken, ...report }) => ({
    ...report,
    not_sent: reading.items - taken,
  }));
  const timing = { seconds: Number(seconds.toFixed(3)) };
  const summary = { url: options.url, key, failure, batches, retries, ...timing, files };
  process.stdout.write(`${jsonText(summary)}\n`);
}

export function report(
  options: IngestOptions,
  run: IngestRun,
  seconds: number,
  withSummary: boolean,
): void {
  for (const file of run.files) for (const text of warningsOf(file)) printWarning(text);
  if (run.failure !== undefined) {
    const unanswered = withSummary ? '' : unansweredText(run);
    printWarning(`device-pipeline: ${run.failure}${unsentText(run)}${unanswered}`);
  }
  if (!withSummary) return;

  const { batches } = run;
  const accepted = sum(run, 'accepted');
  const unconfirmed = sum(run, 'unconfirmed');
  const badLines = sum(run, 'bad_lines');
  const isComplete =
    run.failure === undefined && unconfirmed === 0 && run.files.length === options.files.length;
  const isBegun = batches.accepted + batches.refused + batches.gave_up > 0;
  const isOffered = isBegun && !isComplete && run.isRepeatable;
  const perSecond = withThousands(Math.round(accepted / seconds));
  const lines = [
    `batches  ${outcomeText(batches.accepted, batches.refused, 'refused', batches.gave_up)}`,
    `items    ${outcomeText(accepted, sum(run, 'refused'), 'rejected', unconfirmed)}`,
    ...(badLines === 0 ? [] : [`lines    ${withThousands(badLines)} not sent: ${badLineHint}`]),
    `time     ${seconds.toFixed(1)} s, ${perSecond} items/s, ${amountOf(run.retries, 'retry')}`,
    ...(isOffered
      ? [`again    running the same command again with --key ${run.key} counts nothing twice`]
      : []),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** Corrected in the same file, they would shift later items into other requests, with other keys. */
const badLineHint = 'correct them and send them in a separate file';

function* warningsOf(report: FileReport): Generator<string, void> {
  const { file, lines, errors, troubles, refused, bad_lines: badLines } = report;
  if (!report.reading.isLive) for (const { message } of lines) yield `${file}: ${message}`;
  if (badLines > lines.length) yield `${file}: ${amountOf(badLines, 'bad line')} in all`;
  for (const { item, line, field, code, message } of errors) {
    const place = line === null ? `item ${item}` : `line ${line}, item ${item}`;
    yield `${file}: ${place}: ${field === null ? '' : `${field}: `}${code}: ${message}`;
  }
  if (errors.length > 0 && refused > errors.length)
    yield `${file}: ${refused} items rejected in all`;
  for (const trouble of troubles) yield `${file}: ${trouble}`;
}

/** Says how much of the inputs was read, but not sent. */
function unsentText({ files, isInterrupted }: IngestRun): string {
  const items = files.reduce((total, { reading, taken }) => total + reading.items - taken, 0);
  const bytes = isInterrupted
    ? files.reduce((total, { reading }) => total + reading.unfinishedBytes, 0)
    : 0;
  const parts = [
    ...(items === 0 ? [] : [itemsText(items)]),
    ...(bytes === 0 ? [] : [`${withThousands(bytes)} bytes of an incomplete item`]),
  ];
  return parts.length === 0 ? '' : `; read and not sent: ${parts.join(' and ')}`;
}

/** Says how many items were sent without any response. If no server listens, none were sent. */
function unansweredText(run: IngestRun): string {
  const items = run.isInterrupted ? sum(run, 'unconfirmed') : 0;
  return items === 0 ? '' : `; sent without a response: ${itemsText(items)}`;
}

function itemsText(items: number): string {
  return amountOf(items, 'item');
}

function outcomeText(
  accepted: number,
  notAccepted: number,
  word: 'refused' | 'rejected',
  unanswered: number,
): string {
  const rest = unanswered === 0 ? '' : `, ${withThousands(unanswered)} without a response`;
  return `${withThousands(accepted)} accepted, ${withThousands(notAccepted)} ${word}${rest}`;
}
