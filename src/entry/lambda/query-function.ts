import { awsStatus } from '../../engines/aws/ledger/status.ts';
import { dynamodbCounterReader } from '../../engines/aws/counters/counter-reader.ts';
import { dynamodbReceipts } from '../../engines/aws/ledger/receipts.ts';
import { orUnavailable } from '../../engines/aws/unavailable.ts';
import type { Pages } from '../../http/app/pages.ts';
import type { Queries } from '../../pipeline/ports.ts';
import { gatherStats } from '../../pipeline/stats/stats.ts';
import { errorDetails } from './clients.ts';
import { carriesBodies } from './environment.ts';
import { bodyGroupsOf, functionParts, rawStoreOf } from './function-parts.ts';
import { httpFunction, type HttpFunction } from './http-function.ts';

/** The limit of an uncompressed response; compression reduces it to about a tenth. */
const answerBytesMax = 48 * 1024 * 1024;

/** The function that answers all queries. */
export function queryFunction(
  env: Record<string, string | undefined>,
  pages?: Pages,
): HttpFunction {
  const parts = functionParts('query', env);
  const { environment, telemetry, countersTable, ledgerTable, keepMs, dynamodb } = parts;
  const reader = dynamodbCounterReader(dynamodb, countersTable);
  const { sqs, queueUrl } = parts;
  const deadLetterQueueUrl = environment.text('DEAD_LETTER_QUEUE_URL');
  const status = awsStatus({
    ...{ sqs, queueUrl, deadLetterQueueUrl, dynamodb, ledgerTable },
    rawStore: rawStoreOf(parts),
    groups: bodyGroupsOf(parts),
    carriesBodies: carriesBodies(environment),
    now: Date.now,
  });
  const receipts = dynamodbReceipts({ client: dynamodb, ledgerTable, keepMs, now: Date.now });

  const onFailure = (error: unknown) =>
    telemetry.log('ERROR', 'a query failed', errorDetails(error));
  const answered = <T>(act: () => Promise<T>) => orUnavailable(notNow, onFailure, act);

  const queries: Queries = {
    stats: (request, known) => answered(() => gatherStats(reader, request, known, answerBytesMax)),
    receipt: (batchId) => answered(() => receipts.find(batchId)),
    status: () => answered(status),
  };
  return httpFunction({ queries }, parts, pages);
}

const notNow = 'The query cannot be answered now. Send it again after a moment.';
