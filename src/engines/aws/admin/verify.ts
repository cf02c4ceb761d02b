import type { AuditOptions, ReadingEvents, StoreAdmin } from '../../../pipeline/store-admin.ts';
import { realBackoff } from '../../../util/backoff.ts';
import { amountOf, withThousands } from '../../../util/thousands.ts';
import { dropReplaced, restoreReplaced } from '../counters/corrections.ts';
import { FencedWrites } from '../ledger/fenced-writes.ts';
import { checkTablePair } from '../ledger/table-pair.ts';
import type { Estimate } from '../verify/audit-estimate.ts';
import type { AuditCounts } from '../verify/audit-findings.ts';
import { auditStack } from '../verify/audit.ts';
import { rebuildStack, type RebuildSummary } from '../verify/rebuild.ts';
import type { AwsStore } from './stack.ts';

/** The backoff for requests that the SDK does not retry. */
const backoff = realBackoff({ attemptsMax: 30, delayMsMax: 2_000 });

type Verification = 'audit' | 'rebuild' | 'dropReplaced' | 'restoreReplaced';

/** Audit and rebuild of a store on AWS; see `verify/`. */
export function awsVerification(store: AwsStore): Pick<StoreAdmin, Verification> {
  const { countersTable, ledgerTable, transactions } = store;
  const tables = { client: store.dynamodb, countersTable, ledgerTable };
  return {
    async audit(options, events) {
      const { reading, estimated } = await readingOf(store, options, events);
      const summary = await auditStack({ ...reading, received: options.received });
      const { items, batches, counters, unsettled, requests } = summary;
      const members = { ...countsJson(summary), unsettled, ...estimated, requests };
      return { items, batches, counters, unsettled, notes: notesOf(summary), members };
    },

    async rebuild(options, events) {
      const { reading, estimated } = await readingOf(store, options, events);
      const { dryRun, withoutDamaged, workDir } = options;
      const work = { dryRun, withoutDamaged, workDir, name: store.name, transactions };
      const summary = await rebuildStack({ ...reading, ...work });
      return {
        isSwitched: summary.isSwitched,
        notes: [...notesOf(summary.counts), ...rebuildNotes(summary)],
        result: rebuildResult(summary),
        members: { ...rebuildJson(summary), ...estimated },
      };
    },

    dropReplaced: async () => replaced(await dropReplaced(tables)),

    async restoreReplaced() {
      // A restored ledger may hold old counts that have been dropped since.
      await checkTablePair(tables);
      const writes = await FencedWrites.takeOver({ client: transactions, ledgerTable, backoff });
      return replaced(await restoreReplaced(tables, writes));
    },
  };
}

function replaced(counters: number) {
  return { wereKept: counters > 0, counters };
}

/**
 * The options of an audit's reads, and a member for its JSON output, set once the estimate is
 * known.
 */
async function readingOf(
  store: AwsStore,
  { dates, width, requestsPerSecond, inFlightMs }: Omit<AuditOptions, 'received'>,
  { onDifference, onProgress, onEstimate }: ReadingEvents,
) {
  const estimated: { estimate?: object } = {};
  const reading = {
    store: { ...store, rawExpiryMs: await store.rawExpiryMs() },
    ...{ backoff, dates, width, requestsPerSecond, inFlightMs, onDifference },
    onEstimate(estimate: Estimate) {
      const { text, json } = describeEstimate(estimate);
      estimated.estimate = json;
      onEstimate(text);
    },
    onProgress: (bodies: number, total: number) => onProgress(bodies, total, 'bodies'),
  };
  return { reading, estimated };
}

/** The estimate as a line for people, and as a member of the JSON output. */
function describeEstimate(estimate: Estimate): { readonly text: string; readonly json: object } {
  const { objects, bytes, s3Lists, s3Gets, dynamodbReadUnits, dollars, prices } = estimate;
  const mib = withThousands(Math.ceil(bytes / 1024 ** 2));
  return {
    text: `will read ${amountOf(objects, 'body')} (${mib} MiB): about ${withThousands(s3Lists)} S3 list requests, ${withThousands(s3Gets)} S3 get requests and ${withThousands(dynamodbReadUnits)} DynamoDB read units, ${dollars.toFixed(4)} dollars at the list prices of ${prices.region} of ${prices.date}; each difference costs a little more`,
    json: {
      ...{ objects, bytes, s3_lists: s3Lists, s3_gets: s3Gets },
      ...{ dynamodb_read_units: dynamodbReadUnits, dollars, prices },
    },
  };
}

function notesOf(counts: AuditCounts): string[] {
  const { deadLetters, inFlight, forgotten, dropped, foreignMessages } = counts;
  const { wholeFrom, aboveExpired = 0 } = counts;
  const lines: [number, string][] = [
    [deadLetters, 'chunks are dead letters and not counted'],
    [inFlight, 'batches are recent and may not be counted yet'],
    [forgotten, 'batches are older than the rows of the ledger and assumed to be counted'],
    [dropped, 'batches were dropped, completely or in part, and are not counted'],
    [foreignMessages, 'counted items came from foreign messages and have no raw body'],
  ];
  const notes = lines.flatMap(([amount, text]) =>
    amount > 0 ? [`${withThousands(amount)} ${text}`] : [],
  );
  if (wholeFrom === undefined) return notes;
  return [
    ...notes,
    `rawExpiryDays deletes raw bodies, so counters of days before ${wholeFrom} may exceed the recount, and ${withThousands(aboveExpired)} do`,
  ];
}

function countsJson(counts: AuditCounts): object {
  const { batches, items, bytes, counters, keys, deadLetters, inFlight } = counts;
  const { forgotten, dropped, foreignMessages } = counts;
  return {
    ...{ batches, items, bytes, counters, keys, dead_letters: deadLetters, in_flight: inFlight },
    ...{ forgotten, dropped, strangers: foreignMessages },
    ...{ whole_from: counts.wholeFrom, above_expired: counts.aboveExpired },
  };
}

function rebuildNotes({ withoutDamaged, left }: RebuildSummary): string[] {
  return [
    ...(withoutDamaged > 0 ? [`damaged batches skipped: ${withThousands(withoutDamaged)}`] : []),
    ...(left > 0
      ? [`counters that could not be corrected: ${withThousands(left)}; run rebuild again`]
      : []),
  ];
}

function rebuildResult({ corrected, steps, chunksCounted, ledgerRows }: RebuildSummary): string {
  const kept = corrected > 0 ? '; the old counts are kept until rebuild --drop-old' : '';
  return `${amountOf(corrected, 'counter')} corrected in ${amountOf(steps, 'transaction')}, ${amountOf(chunksCounted, 'chunk')} counted, ${withThousands(ledgerRows)} rows of the ledger written or removed${kept}`;
}

function rebuildJson(summary: RebuildSummary): object {
  const { withoutDamaged, corrected, steps, chunksCounted, ledgerRows, left } = summary;
  return {
    ...{ without_damaged: withoutDamaged, corrected, steps, left },
    ...{ chunks_counted: chunksCounted, ledger_rows: ledgerRows },
    ...countsJson(summary.counts),
  };
}
