import { DescribeTimeToLiveCommand } from '@aws-sdk/client-dynamodb';

import { adoptTables, type TablePair } from '../../engines/aws/ledger/table-pair.ts';
import { withAwsStore, type AwsStore, type StackPlace } from '../../engines/aws/admin/stack.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';

/** Records that the counters table and the ledger table belong together. Returns the exit code. */
export function adopt(place: StackPlace, json: boolean): Promise<number> {
  return withAwsStore(place, process.env, async (store) => {
    const { dynamodb: client, countersTable, ledgerTable } = store;
    const pair = await adoptTables({ client, countersTable, ledgerTable });
    const hasTimeToLiveNow = await hasTimeToLive(store);
    process.stdout.write(
      `${json ? asJson(pair, store, hasTimeToLiveNow) : visible(asText(pair, store))}\n`,
    );
    if (!hasTimeToLiveNow) process.stderr.write(`${visible(timeToLiveHint(ledgerTable))}\n`);
    return 0;
  });
}

function asJson(pair: TablePair, { countersTable, ledgerTable }: AwsStore, isEnding: boolean) {
  return jsonText({
    adopted: pair.kind === 'mismatched',
    why: pair.kind === 'mismatched' ? pair.why : null,
    ...{ counters_table: countersTable, ledger_table: ledgerTable, time_to_live: isEnding },
  });
}

function asText(pair: TablePair, { countersTable, ledgerTable }: AwsStore): string {
  switch (pair.kind) {
    case 'recorded':
      return `nothing to adopt: the counters table ${countersTable} and the ledger table ${ledgerTable} are already recorded as a pair`;
    case 'new':
      return `nothing to adopt: the tables ${countersTable} and ${ledgerTable} are new, and the next sweep records them as a pair`;
    case 'mismatched':
      return `adopted: the counters table ${countersTable} and the ledger table ${ledgerTable} are now recorded as a pair (before: ${pair.why}); the sweeper continues`;
  }
}

/** Whether time to live is enabled: a restored table does not have it. */
async function hasTimeToLive({ dynamodb, ledgerTable }: AwsStore): Promise<boolean> {
  const request = new DescribeTimeToLiveCommand({ TableName: ledgerTable });
  const { TimeToLiveStatus: status } = (await dynamodb.send(request)).TimeToLiveDescription ?? {};
  return status === 'ENABLED' || status === 'ENABLING';
}

function timeToLiveHint(ledgerTable: string): string {
  return `time to live is off, so expired rows of the ledger are never deleted. Enable it: aws dynamodb update-time-to-live --table-name ${ledgerTable} --time-to-live-specification Enabled=true,AttributeName=expires_at`;
}
