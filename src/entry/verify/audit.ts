import { auditDataDirectory } from '../../engines/embedded/verify/audit.ts';
import type { AuditSummary } from '../../pipeline/audit.ts';
import type { AuditCommandOptions } from './audit-options.ts';
import { DifferenceList } from './differences-text.ts';
import { withLocalStore } from '../cli/local-store.ts';
import { withThousands, LogProgress } from '../cli/progress.ts';
import { jsonText } from '../cli/terminal-text.ts';

/** Compares the counters with the raw batches. Returns the exit code: 1 if there are findings. */
export async function audit(options: AuditCommandOptions): Promise<number> {
  const { place } = options;
  if (place.stack === undefined) {
    return withLocalStore(place.dataDir, () => auditOfDirectory(place.dataDir, options));
  }
  const { auditOfStack } = await import('./stack-audit.ts');
  return auditOfStack(place.stack, options);
}

async function auditOfDirectory(
  dataDir: string,
  { dates, received, threads, json }: AuditCommandOptions,
): Promise<number> {
  const differences = new DifferenceList();
  const progress = new LogProgress();
  let summary: AuditSummary;
  try {
    summary = await auditDataDirectory({
      dataDir,
      dates,
      received,
      threads,
      onDifference: (difference) => differences.add(difference),
      onProgress: (bytes, total) => progress.update(bytes, total),
    });
  } finally {
    progress.stop();
  }
  const text = json
    ? asJson(summary, differences)
    : asText(summary, differences, received !== undefined);
  process.stdout.write(`${text}\n`);
  return differences.count === 0 ? 0 : 1;
}

function asJson(summary: AuditSummary, differences: DifferenceList): string {
  const { batches, items, bytes, deadLetters, counters } = summary;
  return jsonText({
    agrees: differences.count === 0,
    batches,
    items,
    bytes,
    dead_letters: deadLetters,
    counters,
    difference_count: differences.count,
    differences: differences.json(),
  });
}

function asText(
  { batches, items, counters, deadLetters }: AuditSummary,
  differences: DifferenceList,
  isPart: boolean,
): string {
  const compared = isPart ? 'no counters compared' : `${withThousands(counters)} counters compared`;
  return [
    ...differences.lines(),
    `${withThousands(items)} items of ${withThousands(batches)} batches recounted, ${compared}`,
    ...(deadLetters > 0 ? [`${withThousands(deadLetters)} dead letters are not counted`] : []),
    differences.count === 0
      ? 'everything agrees'
      : `${differences.total()}; run rebuild to correct the counters`,
  ].join('\n');
}
