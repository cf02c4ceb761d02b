import { isSameDayZone } from '../../domain/day.ts';
import { amountOf, withThousands } from '../../util/thousands.ts';
import { checkReplayEnds } from '../cli/check-directories.ts';
import { openProgress } from '../cli/progress.ts';
import type { ReplayOptions } from './replay-options.ts';
import type { ReplaySource, SourceEntry } from './replay-source.ts';
import { openSource } from './replay-sources.ts';
import { openTarget, type OpenedTarget } from './replay-targets.ts';
import { forEachConcurrently, watchInterrupt, type Interruption } from '../cli/sending.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';

interface Sums {
  batches: number;
  items: number;
}

interface ReplaySummary {
  sent: Sums;
  already_there: Sums;
  refused: Sums;
  failed: number;
  dead_letters: number;
  missing: number;
  /** The first few batches that were not replayed, with the reasons. */
  troubles: { raw_key: string | null; detail: string }[];
}

const troublesMax = 20;

/** Copies the raw batches of one installation into another. Returns the exit code. */
export async function replayBatches(options: ReplayOptions): Promise<number> {
  checkReplayEnds(options);
  const source = await openSource(options);
  const target = await openTarget(options, source.dayZone);
  const interruption = watchInterrupt();
  const summary: ReplaySummary = {
    sent: { batches: 0, items: 0 },
    already_there: { batches: 0, items: 0 },
    refused: { batches: 0, items: 0 },
    ...{ failed: 0, dead_letters: 0, missing: 0, troubles: [] },
  };
  const startedAt = performance.now();
  try {
    checkDays(source, target, options.allowOtherDays);
    await copyBatches(options, source, target, interruption, summary);
  } finally {
    interruption.dispose();
    source.close();
    await target.close();
  }
  report(options, { source, target }, summary, (performance.now() - startedAt) / 1000);
  if (interruption.isByUser()) return interruption.exitCode();
  return summary.refused.batches + summary.failed + summary.missing === 0 ? 0 : 1;
}

function checkDays(
  { dayZone: from }: ReplaySource,
  { dayZone: to }: OpenedTarget,
  isAllowed: boolean,
): void {
  if (from === undefined || to === undefined || isAllowed || isSameDayZone(from, to)) return;
  throw new Error(
    `The day rule of the source is ${from}, that of the target ${to}, so items near midnight would count on other dates. Give --allow-other-days if that is intended.`,
  );
}

async function copyBatches(
  { concurrency, caller }: ReplayOptions,
  source: ReplaySource,
  target: OpenedTarget,
  interruption: Interruption,
  summary: ReplaySummary,
): Promise<void> {
  const progress = openProgress(source.total);
  const { stopping, aborting: leaving } = interruption;
  let reached = 0;
  const copyOne = async (found: SourceEntry) => {
    if (found.kind !== 'batch') {
      recordSkipped(found, summary);
      return;
    }
    const { rawKey, at } = found;
    const batch = await found.load();
    const items = batch.replayOf.accepted;
    const outcome = await target.store({ ...batch, caller: batch.caller || caller }, leaving);
    const isForAllBatches =
      outcome.kind === 'failed' || (outcome.kind === 'refused' && outcome.isForAllBatches);
    if (isForAllBatches) interruption.stop();
    if (outcome.kind === 'failed') summary.failed++;
    else add(summary[outcome.kind === 'known' ? 'already_there' : outcome.kind], items);
    if ('detail' in outcome) addProblem(summary, isForAllBatches ? null : rawKey, outcome.detail);
    reached = Math.max(reached, at);
    progress.update(reached, progressText(summary));
  };
  try {
    await forEachConcurrently(source.batches(), concurrency, stopping, copyOne);
  } finally {
    progress.stop();
  }
}

function add(sums: Sums, items: number): void {
  sums.batches++;
  sums.items += items;
}

function recordSkipped(
  found: Exclude<SourceEntry, { kind: 'batch' }>,
  summary: ReplaySummary,
): void {
  if (found.kind === 'dead_letter') {
    summary.dead_letters++;
    return;
  }
  summary.missing++;
  addProblem(summary, null, found.detail);
}

function addProblem({ troubles }: ReplaySummary, rawKey: string | null, detail: string): void {
  // Batches in flight at the same time fail in the same way.
  const isRepeated = rawKey === null && troubles.some((known) => known.detail === detail);
  if (!isRepeated && troubles.length < troublesMax) troubles.push({ raw_key: rawKey, detail });
}

function progressText({ sent, already_there: known }: ReplaySummary): string {
  return `${amountOf(sent.batches, 'batch')} sent, ${withThousands(known.batches)} already there`;
}

/** A stack stores only hashes of keys, which are of no use elsewhere. */
const unknownKeys =
  'keys     the source has no idempotency keys (a stack stores only hashes): a client that retries a batch sent to the source creates a new batch';

function report(
  { json }: ReplayOptions,
  { source, target: { check } }: { source: ReplaySource; target: OpenedTarget },
  { troubles, ...summary }: ReplaySummary,
  seconds: number,
): void {
  const rate = Math.round((summary.sent.items + summary.already_there.items) / seconds);
  const command = `npx device-pipeline ${check}`;
  const keys = source.hasKeys() ? 'known' : 'not_known';
  if (json) {
    const timing = { seconds: Number(seconds.toFixed(3)), items_per_second: rate };
    process.stdout.write(
      `${jsonText({ ...summary, keys, ...timing, troubles, check: command })}\n`,
    );
    return;
  }
  for (const { raw_key: rawKey, detail } of troubles) {
    const name = rawKey === null ? '' : `${rawKey}: `;
    process.stderr.write(`device-pipeline: ${visible(name + detail)}\n`);
  }
  const { sent, already_there: known, refused, failed, dead_letters: dead, missing } = summary;
  const more = [
    [failed, 'failed: run the command again'],
    [dead, 'dead letters skipped'],
    [missing, 'gaps: raw batches are deleted or damaged'],
  ] as const;
  const rest = more.flatMap(([number, what]) =>
    number === 0 ? [] : [`         ${withThousands(number)} ${what}`],
  );
  const line = (name: keyof Sums) =>
    `${withThousands(sent[name])} sent, ${withThousands(known[name])} already there, ${withThousands(refused[name])} refused`;
  process.stdout.write(
    [
      `batches  ${line('batches')}`,
      `items    ${line('items')}`,
      ...rest,
      ...(keys === 'known' ? [] : [unknownKeys]),
      `time     ${seconds.toFixed(1)} s, ${withThousands(rate)} items/s`,
      `check    ${command}`,
      '',
    ].join('\n'),
  );
}
