import { RetentionDays } from 'aws-cdk-lib/aws-logs';

import {
  corsOrigins,
  dayZone,
  emailAddress,
  existingBucket,
  existingTable,
  oneOf,
  oneOfNumbers,
  stackName,
  wholeNumber,
  wholeNumberOr,
  type Parse,
} from './setting-parsers.ts';

/** The settings of a stack. The name of a duration ends with its unit. */
export interface Settings {
  stackName: string;
  itemsPerMessage: 'packed' | number;
  /** Where the body of a small batch is until it is counted: an object of its own, or its message. */
  smallBodies: 'object' | 'queue';
  maxCountersPerDay: number;
  dayZone: string;
  keepReceiptsDays: number;
  rawExpiryDays: 'never' | number;
  rawInfrequentAccessDays: 'never' | number;
  rawGlacierDays: 'never' | number;
  /** Whether Athena gets tables of the raw bodies. */
  athena: 'on' | 'off';
  logRetentionDays: RetentionDays;
  /** `debug` logs each accepted batch. */
  logLevel: 'info' | 'debug';
  throttleRate: number;
  throttleBurst: number;
  queryThrottleRate: number;
  queryThrottleBurst: number;
  tokens: 'on' | 'off';
  /** Whether the ingest function has a URL of its own, besides `POST /ingest` of the API. */
  functionUrl: 'on' | 'off';
  /** Comma-separated origins, or 'none'. */
  corsOrigins: string;
  /** An e-mail address, or 'none'. */
  alarmEmail: string;
  batchSize: number;
  batchWindowSeconds: number;
  processConcurrencyMax: number;
  ingestConcurrency: 'unreserved' | number;
  queryConcurrency: 'unreserved' | number;
  sweepConcurrency: 'unreserved' | number;
  removalPolicy: 'retain' | 'destroy';
  /** 'new', or the name of an existing bucket, whose configuration the stack does not change; so for tables. */
  rawBucketName: string;
  countersTableName: string;
  ledgerTableName: string;
}

/** Settings of our own deployment only; the construct takes constructs in their place. */
const ofTheStack = [
  ...(['stackName', 'alarmEmail'] as const),
  ...(['rawBucketName', 'countersTableName', 'ledgerTableName'] as const),
] as const;
type OfTheStack = (typeof ofTheStack)[number];

/** The settings of one pipeline, with its name. */
export interface PipelineSettings extends Omit<Settings, OfTheStack> {
  /** Distinguishes the metrics and the access log of this pipeline from those of others. */
  pipelineName: string;
}

interface Setting<Value> {
  default: Value;
  parse: Parse<Value>;
}

/** The retention times that CloudWatch Logs supports, without "never expire". */
export const logRetentionDays = Object.values(RetentionDays)
  .filter((days) => typeof days === 'number')
  .filter((days) => days !== RetentionDays.INFINITE)
  .sort((a, b) => a - b);

/** Every setting with its default and its parser. docs/deploying.md lists the same. */
export const settingTable: { [Name in keyof Settings]: Setting<Settings[Name]> } = {
  stackName: { default: 'device-pipeline', parse: stackName },
  itemsPerMessage: { default: 'packed', parse: wholeNumberOr('packed', 1, 10_000) },
  smallBodies: { default: 'object', parse: oneOf('object', 'queue') },
  maxCountersPerDay: { default: 100_000, parse: wholeNumber(1, 1_000_000) },
  dayZone: { default: 'as-written', parse: dayZone },
  keepReceiptsDays: { default: 90, parse: wholeNumber(30, 3650) },
  rawExpiryDays: { default: 'never', parse: wholeNumberOr('never', 30, 36_500) },
  rawInfrequentAccessDays: { default: 30, parse: wholeNumberOr('never', 30, 36_500) },
  rawGlacierDays: { default: 90, parse: wholeNumberOr('never', 1, 36_500) },
  athena: { default: 'off', parse: oneOf('on', 'off') },
  logRetentionDays: { default: RetentionDays.ONE_MONTH, parse: oneOfNumbers(logRetentionDays) },
  logLevel: { default: 'info', parse: oneOf('info', 'debug') },
  throttleRate: { default: 500, parse: wholeNumber(1, 100_000) },
  throttleBurst: { default: 1000, parse: wholeNumber(1, 100_000) },
  queryThrottleRate: { default: 100, parse: wholeNumber(1, 100_000) },
  queryThrottleBurst: { default: 200, parse: wholeNumber(1, 100_000) },
  tokens: { default: 'on', parse: oneOf('on', 'off') },
  functionUrl: { default: 'off', parse: oneOf('on', 'off') },
  corsOrigins: { default: 'none', parse: corsOrigins },
  alarmEmail: { default: 'none', parse: emailAddress },
  batchSize: { default: 500, parse: wholeNumber(10, 10_000) },
  batchWindowSeconds: { default: 5, parse: wholeNumber(0, 300) },
  processConcurrencyMax: { default: 2, parse: wholeNumber(2, 1000) },
  ingestConcurrency: { default: 'unreserved', parse: wholeNumberOr('unreserved', 1, 10_000) },
  queryConcurrency: { default: 'unreserved', parse: wholeNumberOr('unreserved', 1, 10_000) },
  sweepConcurrency: { default: 'unreserved', parse: wholeNumberOr('unreserved', 1, 10) },
  removalPolicy: { default: 'retain', parse: oneOf('retain', 'destroy') },
  rawBucketName: { default: 'new', parse: existingBucket },
  countersTableName: { default: 'new', parse: existingTable },
  ledgerTableName: { default: 'new', parse: existingTable },
};

export const settingNames = Object.keys(settingTable) as (keyof Settings)[];

/** The names of the settings of one pipeline. */
export const pipelineSettingNames = [
  'pipelineName' as const,
  ...settingNames.filter((name) => !ofTheStack.some((each) => each === name)),
] as (keyof PipelineSettings)[];

export const defaultSettings = Object.fromEntries(
  settingNames.map((name) => [name, settingTable[name].default]),
) as unknown as Settings;

/** Checks valid settings against each other; returns a sentence for each problem. */
export function contradictions(settings: Settings): string[] {
  const isNewBucket = settings.rawBucketName === 'new';
  return [...pipelineContradictions(settings, isNewBucket), ...tableContradictions(settings)];
}

/** As `contradictions`, for the settings of a pipeline. An existing bucket has lifecycle rules of its own. */
export function pipelineContradictions(
  settings: Omit<Settings, OfTheStack>,
  isNewBucket: boolean,
): string[] {
  const { batchSize, batchWindowSeconds, rawExpiryDays, keepReceiptsDays } = settings;
  const problems: string[] = [];
  if (batchSize > 10 && batchWindowSeconds < 1) {
    problems.push(
      `batchWindowSeconds must be 1 or more if batchSize (${batchSize}) is above 10, got ${batchWindowSeconds}.`,
    );
  }
  if (rawExpiryDays !== 'never' && rawExpiryDays < keepReceiptsDays) {
    problems.push(
      `rawExpiryDays must be at least keepReceiptsDays (${keepReceiptsDays}), got ${rawExpiryDays}: a receipt must not outlive its raw body.`,
    );
  }
  return isNewBucket ? [...problems, ...lifecycleContradictions(settings)] : problems;
}

/** A ledger belongs to one counters table: its dedup records list what that table contains. */
function tableContradictions({ countersTableName, ledgerTableName }: Settings): string[] {
  if ((countersTableName === 'new') !== (ledgerTableName === 'new')) {
    return [
      `countersTableName and ledgerTableName must both be 'new' or both name a table, got '${countersTableName}' and '${ledgerTableName}'. The outputs TableName and LedgerTableName of a stack give the names of its tables.`,
    ];
  }
  if (countersTableName === 'new' || countersTableName !== ledgerTableName) return [];
  return [
    `countersTableName and ledgerTableName must name two different tables, got '${ledgerTableName}' for both.`,
  ];
}

/** S3 rejects lifecycle rules whose steps are not in this order. */
function lifecycleContradictions(settings: Omit<Settings, OfTheStack>): string[] {
  const { rawInfrequentAccessDays, rawGlacierDays, rawExpiryDays } = settings;
  const problems: string[] = [];
  if (
    rawInfrequentAccessDays !== 'never' &&
    rawGlacierDays !== 'never' &&
    rawGlacierDays < rawInfrequentAccessDays + 30
  ) {
    problems.push(
      `rawGlacierDays must be at least 30 more than rawInfrequentAccessDays (${rawInfrequentAccessDays}), or one of the two 'never', got ${rawGlacierDays}.`,
    );
  }
  for (const name of ['rawInfrequentAccessDays', 'rawGlacierDays'] as const) {
    const days = settings[name];
    if (rawExpiryDays !== 'never' && days !== 'never' && rawExpiryDays <= days) {
      problems.push(
        `rawExpiryDays must be more than ${name} (${days}), got ${rawExpiryDays}; set ${name} to 'never' to omit that step.`,
      );
    }
  }
  return problems;
}
