/** A template in the terms of the local engine, with all references resolved. */
export interface StackDescription {
  readonly region: string;
  readonly accountId: string;
  readonly tables: readonly TableDescription[];
  readonly buckets: readonly string[];
  /** Dead-letter queues precede the queues that send to them. */
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
  /** In the form of CreateQueue, including `RedrivePolicy`. */
  readonly attributes: Readonly<Record<string, string>>;
  readonly deadLetterQueueArn: string | undefined;
}

/** The role of a function, by which its bundle is named. */
export type FunctionRole = 'ingest' | 'process' | 'query' | 'sweep';

/** A statement of a function's policies that allows actions of the emulated services. */
export interface Permission {
  /** Such as `dynamodb:PutItem`; here and below, `*` and `?` are wildcards. */
  readonly actions: readonly string[];
  /** ARNs. */
  readonly resources: readonly string[];
  /** A pattern of the keys that may be listed; undefined: all. */
  readonly prefixes: readonly string[] | undefined;
}

export interface FunctionDescription {
  readonly role: FunctionRole;
  readonly name: string;
  readonly arn: string;
  /** The module in the bundle and its export, such as `index.handler`. */
  readonly handler: string;
  readonly timeoutMs: number;
  readonly memoryMb: number;
  readonly environment: Readonly<Record<string, string>>;
  readonly reservedConcurrency: number | undefined;
  readonly permissions: readonly Permission[];
}

export interface RouteDescription {
  /** Such as `POST /ingest` or `$default`. */
  readonly routeKey: string;
  readonly role: FunctionRole;
  /** Undefined: no limit. */
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
  readonly retriesMax: number;
  readonly failureQueueUrl: string | undefined;
}
