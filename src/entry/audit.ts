import { auditDataDirectory } from '../engines/embedded/audit.ts';
import type { AuditSummary, Difference } from '../pipeline/audit.ts';
import type { AuditCommandOptions } from './audit-options.ts';
import { grouped, openProgress } from './progress.ts';
import { jsonText, visible } from './terminal-text.ts';

/** More differences than these are counted, not shown. */
const shownMax = 1_000;

/** Compares the counters with the raw batches. Returns the exit code: 1 where something differs. */
export function audit({ dataDir, dates, received, json }: AuditCommandOptions): number {
  const differences: Difference[] = [];
  let progress: ReturnType<typeof openProgress> | undefined;
  let summary: AuditSummary;
  try {
    summary = auditDataDirectory({
      dataDir,
      dates,
      received,
      onDifference(difference) {
        if (differences.length < shownMax) differences.push(difference);
      },
      onProgress(bytes, total) {
        progress ??= openProgress(total);
        progress.update(bytes, `${grouped(Math.round(bytes / 1024 ** 2))} MiB read`);
      },
    });
  } finally {
    progress?.stop();
  }
  const text = json ? asJson(summary, differences) : asText(summary, differences, received);
  process.stdout.write(`${text}\n`);
  return summary.differences === 0 ? 0 : 1;
}

function asJson(summary: AuditSummary, differences: readonly Difference[]): string {
  return jsonText({
    agrees: summary.differences === 0,
    batches: summary.batches,
    items: summary.items,
    bytes: summary.bytes,
    dead_letters: summary.deadLetters,
    counters: summary.counters,
    difference_count: summary.differences,
    differences: differences.map((each) => ({
      code: each.code,
      detail: each.detail,
      ...each.counter,
      ...(each.counted !== undefined && { counted: each.counted }),
      ...(each.recounted !== undefined && { recounted: each.recounted }),
      ...(each.rawKeys !== undefined && { raw_keys: each.rawKeys }),
      ...(each.explainedBy !== undefined && { explained_by: each.explainedBy }),
    })),
  });
}

function asText(
  summary: AuditSummary,
  differences: readonly Difference[],
  received: AuditCommandOptions['received'],
): string {
  const lines = differences.flatMap(({ code, detail, counter, rawKeys = [], explainedBy = [] }) => [
    `${code}: ${visible(detail)}`,
    ...(counter === undefined || rawKeys.length === 0
      ? []
      : [`  in ${rawKeys.join(', ')}${rawKeys.length === 5 ? ' …' : ''}`]),
    ...(explainedBy.length === 0 ? [] : [`  would be explained by ${explainedBy.join(', or ')}`]),
  ]);
  const hidden = summary.differences - differences.length;
  if (hidden > 0) lines.push(`… and ${grouped(hidden)} more`);
  lines.push(
    `${grouped(summary.items)} items of ${grouped(summary.batches)} batches counted again, ` +
      (received === undefined
        ? `${grouped(summary.counters)} counters compared`
        : 'no counters compared'),
  );
  if (summary.deadLetters > 0) lines.push(`${grouped(summary.deadLetters)} dead letters`);
  lines.push(
    summary.differences === 0
      ? 'everything agrees'
      : `${grouped(summary.differences)} ${summary.differences === 1 ? 'difference' : 'differences'}; rebuild makes the counters anew from the raw batches`,
  );
  return lines.join('\n');
}
