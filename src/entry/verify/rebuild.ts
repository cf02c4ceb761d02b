import {
  dropReplacedTables,
  rebuildDataDirectory,
  type RebuildSummary,
} from '../../engines/embedded/verify/rebuild.ts';
import { DifferenceList } from './differences-text.ts';
import { withLocalStore } from '../cli/local-store.ts';
import { LogProgress } from '../cli/progress.ts';
import type { RebuildCommandOptions } from './rebuild-options.ts';
import { jsonText } from '../cli/terminal-text.ts';

/** Rebuilds the counters from the raw batches. Returns the exit code. */
export async function rebuild(options: RebuildCommandOptions): Promise<number> {
  const { place } = options;
  if (place.stack === undefined) {
    return withLocalStore(place.dataDir, () => rebuildDirectory(place.dataDir, options));
  }
  const { rebuildOfStack } = await import('./stack-rebuild.ts');
  return rebuildOfStack(place.stack, options);
}

function rebuildDirectory(
  dataDir: string,
  { dryRun, withoutDamaged, replaced, json }: RebuildCommandOptions,
): number {
  if (replaced !== undefined) {
    const isDropped = dropReplacedTables(dataDir);
    const text = isDropped ? 'old counters dropped' : 'there are no old counters';
    process.stdout.write(`${json ? jsonText({ dropped: isDropped }) : text}\n`);
    return 0;
  }
  const differences = new DifferenceList();
  const progress = new LogProgress();
  let summary: RebuildSummary;
  try {
    summary = rebuildDataDirectory({
      dataDir,
      dryRun,
      withoutDamaged,
      onDifference: (difference) => differences.add(difference),
      onProgress: (bytes, total) => progress.update(bytes, total),
      now: Date.now,
    });
  } finally {
    progress.stop();
  }
  process.stdout.write(`${json ? asJson(summary, differences) : asText(summary, differences)}\n`);
  return 0;
}

function asJson({ isSwitched, damagedSpans }: RebuildSummary, differences: DifferenceList): string {
  return jsonText({
    switched: isSwitched,
    without_damaged: damagedSpans,
    difference_count: differences.count,
    differences: differences.json(),
  });
}

function asText({ isSwitched, damagedSpans }: RebuildSummary, differences: DifferenceList): string {
  return [
    ...differences.lines(),
    ...(damagedSpans > 0
      ? [`damaged spans of the log recorded as dead letters: ${damagedSpans}`]
      : []),
    isSwitched
      ? `counters rebuilt: ${differences.total()} to the old ones, which are kept until rebuild --drop-old`
      : `${differences.total()}; nothing was changed, and rebuild continues from here`,
  ].join('\n');
}
