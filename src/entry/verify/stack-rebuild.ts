import { homedir } from 'node:os';
import { join } from 'node:path';

import { rebuildStack, type RebuildSummary } from '../../engines/aws/verify/rebuild.ts';
import { dropReplaced, restoreReplaced } from '../../engines/aws/counters/corrections.ts';
import { FencedWrites } from '../../engines/aws/ledger/fenced-writes.ts';
import { checkTablePair } from '../../engines/aws/ledger/table-pair.ts';
import type { StackPlace } from '../cli/common-options.ts';
import { DifferenceList } from './differences-text.ts';
import { withThousands } from '../cli/progress.ts';
import type { RebuildCommandOptions } from './rebuild-options.ts';
import {
  commandBackoff,
  noteLines,
  countsJson,
  estimateJson,
  StackAuditRun,
} from './stack-store.ts';
import { withAwsStore, type AwsStore } from '../../engines/aws/admin/stack.ts';
import { jsonText } from '../cli/terminal-text.ts';

/** `rebuild` for a deployed stack. */
export function rebuildOfStack(place: StackPlace, options: RebuildCommandOptions): Promise<number> {
  return withAwsStore(place, process.env, async (stack) => {
    const text =
      options.replaced === undefined
        ? await correctStack(stack, options)
        : await useReplaced(stack, options.replaced, options.json);
    process.stdout.write(`${text}\n`);
    return 0;
  });
}

async function correctStack(stack: AwsStore, options: RebuildCommandOptions): Promise<string> {
  const { dates, dryRun, withoutDamaged, workDir = defaultWorkDir(), json } = options;
  const differences = new DifferenceList();
  const proof = new StackAuditRun(options.stackAudit);
  let summary: RebuildSummary;
  try {
    summary = await rebuildStack({
      ...(await proof.options(stack)),
      ...{ dates, dryRun, withoutDamaged, workDir },
      transactions: stack.transactions,
      name: stack.name,
      onDifference: (difference) => differences.add(difference),
    });
  } catch (error) {
    // The differences name the damaged batches that the error mentions.
    for (const line of differences.lines()) process.stderr.write(`${line}\n`);
    throw error;
  } finally {
    proof.stop();
  }
  return json ? asJson(summary, differences, proof) : asText(summary, differences);
}

async function useReplaced(
  stack: AwsStore,
  what: 'drop' | 'restore',
  json: boolean,
): Promise<string> {
  const { countersTable, ledgerTable } = stack;
  const tables = { client: stack.dynamodb, countersTable, ledgerTable };
  if (what === 'drop') {
    const dropped = await dropReplaced(tables);
    if (json) return jsonText({ dropped: dropped > 0, counters: dropped });
    return dropped > 0
      ? `dropped the old counts of ${withThousands(dropped)} counters`
      : nothingKept;
  }
  // A restored ledger may hold old counts that have been dropped since.
  await checkTablePair(tables);
  const fence = { client: stack.transactions, ledgerTable, backoff: commandBackoff() };
  const restored = await restoreReplaced(tables, await FencedWrites.takeOver(fence));
  if (json) return jsonText({ restored: restored > 0, counters: restored });
  return restored > 0 ? `restored ${withThousands(restored)} counters` : nothingKept;
}

const nothingKept = 'there are no old counters';

/** The state directory of the XDG Base Directory Specification, which survives restarts. */
function defaultWorkDir(): string {
  const state = process.env['XDG_STATE_HOME'] ?? join(homedir(), '.local', 'state');
  return join(state, 'device-pipeline');
}

function asJson(
  summary: RebuildSummary,
  differences: DifferenceList,
  proof: StackAuditRun,
): string {
  const { isSwitched, withoutDamaged, corrected, steps, chunksCounted, ledgerRows, left } = summary;
  return jsonText({
    ...{ switched: isSwitched, without_damaged: withoutDamaged, corrected, steps, left },
    ...{ chunks_counted: chunksCounted, ledger_rows: ledgerRows },
    ...countsJson(summary.counts),
    estimate: proof.estimate === undefined ? undefined : estimateJson(proof.estimate),
    difference_count: differences.count,
    differences: differences.json(),
  });
}

function asText(summary: RebuildSummary, differences: DifferenceList): string {
  const { isSwitched, withoutDamaged, corrected, steps, chunksCounted, ledgerRows, left } = summary;
  const kept = corrected > 0 ? '; the old counts are kept until rebuild --drop-old' : '';
  return [
    ...differences.lines(),
    ...noteLines(summary.counts),
    ...(withoutDamaged > 0 ? [`damaged batches skipped: ${withThousands(withoutDamaged)}`] : []),
    ...(left > 0
      ? [`counters that could not be corrected: ${withThousands(left)}; run rebuild again`]
      : []),
    isSwitched
      ? `${withThousands(corrected)} counters corrected in ${withThousands(steps)} transactions, ${withThousands(chunksCounted)} chunks counted, ${withThousands(ledgerRows)} rows of the ledger written or removed${kept}`
      : `${differences.total()}; nothing was changed, and rebuild continues from here`,
  ].join('\n');
}
