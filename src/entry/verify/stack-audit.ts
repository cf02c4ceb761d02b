import { auditStack, type AwsAuditSummary } from '../../engines/aws/verify/audit.ts';
import type { AuditCommandOptions } from './audit-options.ts';
import type { StackPlace } from '../cli/common-options.ts';
import { DifferenceList } from './differences-text.ts';
import { withThousands } from '../cli/progress.ts';
import { noteLines, countsJson, estimateJson, StackAuditRun } from './stack-store.ts';
import { withAwsStore } from '../../engines/aws/admin/stack.ts';
import { jsonText } from '../cli/terminal-text.ts';

/** No findings, but some counters changed too often to be compared. */
const exitUnsettled = 3;

/** `audit` for a deployed stack. */
export async function auditOfStack(
  place: StackPlace,
  options: AuditCommandOptions,
): Promise<number> {
  const { dates, received, json } = options;
  const differences = new DifferenceList();
  const proof = new StackAuditRun(options.stackAudit);
  const summary = await withAwsStore(place, process.env, async (stack) => {
    try {
      return await auditStack({
        ...(await proof.options(stack)),
        ...{ dates, received },
        onDifference: (difference) => differences.add(difference),
      });
    } finally {
      proof.stop();
    }
  });
  const text = json
    ? asJson(summary, differences, proof)
    : asText(summary, differences, received !== undefined);
  process.stdout.write(`${text}\n`);
  if (summary.differences > 0) return 1;
  return summary.unsettled > 0 ? exitUnsettled : 0;
}

function asJson(
  summary: AwsAuditSummary,
  differences: DifferenceList,
  proof: StackAuditRun,
): string {
  return jsonText({
    agrees: differences.count === 0,
    ...countsJson(summary),
    unsettled: summary.unsettled,
    estimate: proof.estimate === undefined ? undefined : estimateJson(proof.estimate),
    requests: summary.requests,
    difference_count: summary.differences,
    differences: differences.json(),
  });
}

function asText(summary: AwsAuditSummary, differences: DifferenceList, isPart: boolean): string {
  const { items, batches, counters, unsettled } = summary;
  const compared = isPart ? 'no counters compared' : `${withThousands(counters)} counters compared`;
  return [
    ...differences.lines(),
    `${withThousands(items)} items of ${withThousands(batches)} batches recounted, ${compared}`,
    ...noteLines(summary),
    conclusion(summary.differences, unsettled),
  ].join('\n');
}

function conclusion(differences: number, unsettled: number): string {
  if (differences > 0) {
    const text = differences === 1 ? '1 difference' : `${withThousands(differences)} differences`;
    return `${text}; run rebuild to correct the counters`;
  }
  if (unsettled === 0) return 'everything agrees';
  return `no difference, but ${withThousands(unsettled)} counters changed too often to be compared; run audit again at a quieter time`;
}
