/** What a template says, in the words of the local engine; all references are resolved. */
export interface StackDescription {
  readonly region: string;
  readonly accountId: string;
  readonly tables: readonly TableDescription[];
  readonly buckets: readonly string[];
  /** Dead-letter queues stand before the queues that send to them. */
  readonly queues: readonly QueueDescription[];
  readonly functions: readonly FunctionDescription[];
  readonly routes: readonly RouteDescription[];
  readonly eventSources: readonly EventSourceDescription[];
  readonly schedules: readonly ScheduleDescription[];
  readonly outputs: Readonly<Record<string, string>>;
}

export interface KeyElement {
  readonly AttributeName: string;
  readonly KeyType: 'HASH' | 'RANGE';
}

export interface TableDescription {
  readonly name: string;
  readonly keys: readonly KeyElement[];
  readonly attributes: readonly {
    readonly AttributeName: string;
    readonly AttributeType: 'S' | 'N' | 'B';
  }[];
  readonly timeToLiveAttribute: string | undefined;
}

export interface QueueDescription {
  readonly name: string;
  readonly url: string;
  readonly arn: string;
  /** As CreateQueue takes them, `RedrivePolicy` included. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly deadLetterQueueArn: string | undefined;
}

/** Functions are known by what the template has them do, and their bundles are named so. */
export type FunctionRole = 'ingest' | 'process' | 'query' | 'sweep';

export interface FunctionDescription {
  readonly role: FunctionRole;
  readonly name: string;
  readonly arn: string;
  /** The module in the bundle and what it exports, as in `index.handler`. */
  readonly handler: string;
  readonly timeoutMs: number;
  readonly memoryMb: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly reservedConcurrency: number | undefined;
}

export interface RouteDescription {
  /** As in `POST /ingest`, or `$default`. */
  readonly routeKey: string;
  readonly role: FunctionRole;
  /** Undefined: as many requests as come. */
  readonly throttle: ThrottleDescription | undefined;
}

export interface ThrottleDescription {
  readonly ratePerSecond: number;
  readonly burst: number;
}

export interface EventSourceDescription {
  readonly role: FunctionRole;
  readonly queueUrl: string;
  readonly queueArn: string;
  readonly batchSize: number;
  readonly windowMs: number;
  readonly concurrencyMax: number;
  readonly reportsItemFailures: boolean;
}

export interface ScheduleDescription {
  readonly role: FunctionRole;
  readonly ruleArn: string;
  readonly everyMs: number;
  /** The payload, where the template gives one; otherwise it is EventBridge's own event. */
  readonly input: string | undefined;
  readonly retriesMax: number;
  readonly failureQueueUrl: string | undefined;
}
