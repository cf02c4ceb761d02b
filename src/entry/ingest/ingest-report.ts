import type { ItemError, PostOutcome } from '../../client/index.ts';
import type { IngestOptions } from './ingest-options.ts';
import type { Pack } from './pack-items.ts';
import { withThousands } from '../cli/progress.ts';
import type { ReadingState } from './read-packs.ts';
import { affectsAllBatches } from '../cli/sending.ts';
import type { BadLine } from './split-lines.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';

/**
 * What became of a file. Items are numbered from 1, lines too; `unconfirmed` items were sent and
 * never answered for. The `field` of an error is null where it is the item as a whole.
 */
export interface FileReport {
  readonly file: string;
  readonly reading: ReadingState;
  items: number;
  /** Items for which a request was begun. */
  taken: number;
  accepted: number;
  refused: number;
  unconfirmed: number;
  bad_lines: number;
  /** The first ones, as the others of this kind. */
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

/** What became of all files. */
export interface IngestRun {
  readonly key: string;
  files: FileReport[];
  readonly batches: { accepted: number; refused: number; gave_up: number };
  retries: number;
  /** Why the run ended before its time. */
  failure: string | undefined;
  isInterrupted: boolean;
  /** Whether the same command under the same key makes the same requests. */
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
  switch (outcome.kind) {
    case 'accepted':
      run.batches.accepted += 1;
      report.accepted += outcome.enqueued;
      report.refused += outcome.rejected;
      listItems(report, batch, outcome.errors);
      break;
    case 'refused':
      run.batches.refused += 1;
      report.refused += batch.items;
      listItems(report, batch, outcome.errors);
      // What any batch would meet ends the run, which says so once.
      if (!affectsAllBatches(outcome)) {
        recordRefusedBatch(report, batch, `${outcome.status} ${outcome.code}: ${outcome.detail}`);
      }
      break;
    case 'gave_up':
      run.batches.gave_up += 1;
      report.unconfirmed += batch.items;
  }
}

/** Batches are answered in any order; what is listed of a file are its first refused items. */
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
    `items ${firstItem + 1} to ${firstItem + items} were refused together: ${reason}`,
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
    `batches  ${outcomeText(batches.accepted, batches.refused, batches.gave_up)}`,
    `items    ${outcomeText(accepted, sum(run, 'refused'), unconfirmed)}`,
    ...(badLines === 0 ? [] : [`lines    ${withThousands(badLines)} not sent: ${badLineHint}`]),
    `time     ${seconds.toFixed(1)} s, ${perSecond} items/s, ${withThousands(run.retries)} retries`,
    ...(isOffered ? [`again    the same command with --key ${run.key} counts nothing twice`] : []),
  ];
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** In the same file they would move the items behind them into other requests. */
const badLineHint = 'correct them and send them in a file of their own';

function* warningsOf(report: FileReport): Generator<string, void> {
  const { file, lines, errors, troubles, refused, bad_lines: badLines } = report;
  if (!report.reading.isLive) for (const { message } of lines) yield `${file}: ${message}`;
  if (badLines > lines.length) yield `${file}: ${withThousands(badLines)} bad lines in all`;
  for (const { item, line, field, code, message } of errors) {
    const place = line === null ? `item ${item}` : `line ${line}, item ${item}`;
    yield `${file}: ${place}: ${field === null ? '' : `${field}: `}${code}: ${message}`;
  }
  if (errors.length > 0 && refused > errors.length)
    yield `${file}: ${refused} items refused in all`;
  for (const trouble of troubles) yield `${file}: ${trouble}`;
}

/** What of the inputs was read, and is in no request. */
function unsentText({ files, isInterrupted }: IngestRun): string {
  const items = files.reduce((total, { reading, taken }) => total + reading.items - taken, 0);
  const bytes = isInterrupted
    ? files.reduce((total, { reading }) => total + reading.unfinishedBytes, 0)
    : 0;
  const parts = [
    ...(items === 0 ? [] : [itemsText(items)]),
    ...(bytes === 0 ? [] : [`${withThousands(bytes)} bytes that are not cut into items yet`]),
  ];
  return parts.length === 0 ? '' : `; read and not sent: ${parts.join(' and ')}`;
}

/** Of a server that has never answered. Where none listens, nothing was sent. */
function unansweredText(run: IngestRun): string {
  const items = run.isInterrupted ? sum(run, 'unconfirmed') : 0;
  return items === 0 ? '' : `; sent and not answered: ${itemsText(items)}`;
}

function itemsText(items: number): string {
  return items === 1 ? '1 item' : `${withThousands(items)} items`;
}

function outcomeText(accepted: number, refused: number, unanswered: number): string {
  const rest = unanswered === 0 ? '' : `, ${withThousands(unanswered)} without an answer`;
  return `${withThousands(accepted)} accepted, ${withThousands(refused)} refused${rest}`;
}
