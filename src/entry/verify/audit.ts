import { countOfDifferences } from '../../pipeline/findings.ts';
import type { AuditReport } from '../../pipeline/store-admin.ts';
import { amountOf } from '../../util/thousands.ts';
import { withStore } from '../cli/open-store.ts';
import { jsonText } from '../cli/terminal-text.ts';
import { compareArchive } from '../archive/audit-archive.ts';
import { DifferenceList, reportingOn } from './differences-text.ts';
import type { AuditCommandOptions } from './verify-options.ts';

/** No findings, but some counters changed too often to be compared. */
const exitUnsettled = 3;

/** Compares the counters with the raw batches. Returns the exit code: 1 if there are findings. */
export async function audit(options: AuditCommandOptions): Promise<number> {
  const { place, json } = options;
  const differences = new DifferenceList();
  const ofStore = await withStore(place, (store) =>
    reportingOn(differences, (events) => store.audit(options, events)),
  );
  const archived = await auditArchive(options, differences);
  const report = {
    ...{ ...ofStore, notes: [...ofStore.notes, ...archived.notes] },
    members: { ...ofStore.members, ...archived.members },
  };
  const found = differences.count - report.unsettled;
  const text = json
    ? asJson(report, found, differences)
    : asText(report, found - archived.count, differences, options.received !== undefined);
  process.stdout.write(`${text}\n`);
  if (found > 0) return 1;
  return report.unsettled > 0 ? exitUnsettled : 0;
}

function auditArchive(
  { archive, place }: AuditCommandOptions,
  differences: DifferenceList,
): ReturnType<typeof compareArchive> {
  const isAsked = archive !== undefined && place.dataDir !== undefined;
  if (isAsked) return compareArchive(archive, place.dataDir, differences);
  return Promise.resolve({ count: 0, members: {}, notes: [] });
}

function asJson({ members }: AuditReport, found: number, differences: DifferenceList): string {
  return jsonText({
    agrees: differences.count === 0,
    ...members,
    difference_count: found,
    differences: differences.json(),
  });
}

function asText(report: AuditReport, found: number, list: DifferenceList, isPart: boolean): string {
  const { items, batches, counters, notes, unsettled } = report;
  const compared = isPart ? 'no counters compared' : `${amountOf(counters, 'counter')} compared`;
  return [
    ...list.lines(),
    `${amountOf(items, 'item')} of ${amountOf(batches, 'batch')} recounted, ${compared}`,
    ...notes,
    conclusion(found, unsettled, list.count > found + unsettled),
  ].join('\n');
}

function conclusion(found: number, unsettled: number, isArchiveDamaged: boolean): string {
  if (found > 0) return `${countOfDifferences(found)}; run rebuild to correct the counters`;
  if (isArchiveDamaged) return 'the counters agree; the archive does not';
  if (unsettled === 0) return 'everything agrees';
  return `no difference, but ${amountOf(unsettled, 'counter')} changed too often to be compared; run audit again at a quieter time`;
}
