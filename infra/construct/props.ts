// Not from the root: a compiler would then read the types of every service.
import type { RemovalPolicy } from 'aws-cdk-lib/core';
import type { IDomainName, IHttpRouteAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2';
import type { ICertificate } from 'aws-cdk-lib/aws-certificatemanager';
import type { ITable } from 'aws-cdk-lib/aws-dynamodb';
import type { ISecurityGroup, IVpc, SubnetSelection } from 'aws-cdk-lib/aws-ec2';
import type { RetentionDays } from 'aws-cdk-lib/aws-logs';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { ITopic } from 'aws-cdk-lib/aws-sns';

/** The settings of a `DevicePipeline`; all are optional. docs/cdk.md lists the same. */
export interface DevicePipelineProps {
  /**
   * Names the API, the access log and the metrics. Unique in an account and region. Letters, digits and
   * `.-_`, at most 128.
   * @default - the name of the stack and the ids of the construct
   */
  readonly pipelineName?: string;

  /**
   * The day on which an item counts: `as-written` in its timestamp, `UTC`, or in a time zone such as
   * `Europe/Berlin`. Fixed within minutes of the first deployment: with another value the functions
   * then refuse to work.
   * @default 'as-written'
   */
  readonly dayZone?: string;

  /**
   * How long idempotency keys and receipts are kept: 30 to 3650 days.
   * @default 90
   */
  readonly keepReceiptsDays?: number;

  /**
   * When raw bodies are deleted: 30 to 36500 days, not earlier than the receipts. An existing bucket
   * keeps its own rules; give their values here, because the commands rely on them.
   * @default 'never'
   */
  readonly rawExpiryDays?: number | 'never';

  /**
   * When raw bodies move to Infrequent Access: 30 to 36500 days.
   * @default 30
   */
  readonly rawInfrequentAccessDays?: number | 'never';

  /**
   * When raw bodies move to Glacier Instant Retrieval: at least 30 days after the move above.
   * @default 90
   */
  readonly rawGlacierDays?: number | 'never';

  /**
   * Creates a database of the Glue catalogue with tables of the raw bodies, for Athena.
   * @default false
   */
  readonly athena?: boolean;

  /**
   * How long logs are kept.
   * @default RetentionDays.ONE_MONTH
   */
  readonly logRetentionDays?: RetentionDays;

  /**
   * `debug` logs each accepted batch.
   * @default 'info'
   */
  readonly logLevel?: 'info' | 'debug';

  /**
   * Items in one message of the queue: 1 to 10000, or `packed`, which is by far the cheapest.
   * @default 'packed'
   */
  readonly itemsPerMessage?: number | 'packed';

  /**
   * Where the raw body of a small batch is stored until it is counted: in an object of its own
   * (`object`), or in its message (`queue`), which is much cheaper.
   * @default 'object'
   */
  readonly smallBodies?: 'object' | 'queue';

  /**
   * Distinct counters of a day: 1 to 1000000. Items beyond them are rejected.
   * @default 100000
   */
  readonly maxCountersPerDay?: number;

  /**
   * Whether clients need a bearer token. The first one is in `tokensSecret`. Without tokens and without
   * `authorizer`, everyone who knows the URL can send and read.
   * @default - true, unless there is an `authorizer`
   */
  readonly tokens?: boolean;

  /**
   * Authorizes all requests in place of tokens: an `HttpJwtAuthorizer`, `HttpUserPoolAuthorizer`,
   * `HttpIamAuthorizer` or `HttpLambdaAuthorizer`. All callers then share their idempotency keys.
   * @default - tokens
   */
  readonly authorizer?: IHttpRouteAuthorizer;

  /**
   * Scopes; a JWT needs one of them to send batches.
   * @default - those of the authorizer
   */
  readonly ingestScopes?: string[];

  /**
   * Scopes; a JWT needs one of them for all other requests.
   * @default - those of the authorizer
   */
  readonly queryScopes?: string[];

  /**
   * Gives the ingest function a URL of its own, at which a million requests cost a dollar less. It
   * requires the same tokens, or IAM if `authorizer` is an `HttpIamAuthorizer`. Only `ingestConcurrency`
   * limits it.
   * @default false
   */
  readonly functionUrl?: boolean;

  /**
   * Web origins whose pages may send requests, or `*`.
   * @default - none
   */
  readonly corsOrigins?: string[];

  /**
   * Requests per second to `POST /ingest`, on average: 1 to 100000. Above it, API Gateway responds with
   * 429.
   * @default 500
   */
  readonly throttleRate?: number;

  /**
   * Requests at once to `POST /ingest`.
   * @default 1000
   */
  readonly throttleBurst?: number;

  /**
   * All other requests per second, on average.
   * @default 100
   */
  readonly queryThrottleRate?: number;

  /**
   * All other requests at once.
   * @default 200
   */
  readonly queryThrottleBurst?: number;

  /**
   * A custom domain for the API. Alias `regionalDomainName` of `DevicePipeline.domainName` in the DNS zone.
   * @default - the address that API Gateway gives
   */
  readonly domain?: PipelineDomain;

  /**
   * Receives the alarms and their recoveries. A topic with a policy of its own must allow
   * `cloudwatch.amazonaws.com` to publish.
   * @default - none
   */
  readonly alarmTopic?: ITopic;

  /**
   * The most messages that one invocation counts: 10 to 10000.
   * @default 500
   */
  readonly batchSize?: number;

  /**
   * How long Lambda gathers messages for an invocation: 0 to 300 seconds; at least 1 if `batchSize` is
   * above 10.
   * @default 5
   */
  readonly batchWindowSeconds?: number;

  /**
   * Invocations that count at once: 2 to 1000.
   * @default 2
   */
  readonly processConcurrencyMax?: number;

  /**
   * Reserved concurrency of the ingest function: 1 to 10000.
   * @default 'unreserved'
   */
  readonly ingestConcurrency?: number | 'unreserved';

  /**
   * Reserved concurrency of the query function: 1 to 10000.
   * @default 'unreserved'
   */
  readonly queryConcurrency?: number | 'unreserved';

  /**
   * Reserved concurrency of the sweep function: 1 to 10.
   * @default 'unreserved'
   */
  readonly sweepConcurrency?: number | 'unreserved';

  /**
   * `DESTROY`, for trials, deletes a new bucket and new tables with the stack.
   * @default RemovalPolicy.RETAIN
   */
  readonly removalPolicy?: RemovalPolicy;

  /**
   * An existing bucket for the raw bodies, which stays as it is. If it has a customer-managed key, import
   * it with `Bucket.fromBucketAttributes` and `encryptionKey`.
   * @default - a new bucket
   */
  readonly rawBucket?: IBucket;

  /**
   * An existing counters table: keys `date` and `type_state`, both strings. Only with `ledgerTable`.
   * @default - a new table
   */
  readonly countersTable?: ITable;

  /**
   * The ledger of that counters table: keys `id` and `entry`, both strings; time to live `expires_at`.
   * @default - a new table
   */
  readonly ledgerTable?: ITable;

  /**
   * A VPC to run the functions in. Its subnets must reach S3, DynamoDB, SQS, Secrets Manager and X-Ray by
   * endpoints or a NAT gateway.
   * @default - no VPC
   */
  readonly vpc?: IVpc;

  /**
   * The subnets of `vpc`.
   * @default - private subnets
   */
  readonly vpcSubnets?: SubnetSelection;

  /**
   * The security groups of the functions in `vpc`.
   * @default - a new one for each function
   */
  readonly securityGroups?: ISecurityGroup[];

  /**
   * The directory with `<handler>/index.mjs` for each handler.
   * @default - the bundles of the package
   * @internal
   */
  readonly bundlesDirectory?: string;
}

/** A custom domain. Point its DNS record to `DevicePipeline.domainName`. */
export interface PipelineDomain {
  /**
   * Such as `events.example.org`; or a `DomainName` that exists, such as that of another pipeline, which
   * several share by their base paths.
   */
  readonly domainName: string | IDomainName;
  /**
   * A certificate for the name, in the region and the account of the stack. A `DomainName` has its own.
   * @default - none, with a `DomainName`
   */
  readonly certificate?: ICertificate;
  /**
   * The path below which the API is, without slashes around it.
   * @default - the root
   */
  readonly basePath?: string;
}

/** The alarms; docs/deploying.md says when each is raised. */
export type AlarmName =
  | 'DeadLettersPresent'
  | 'OldestMessageWaits'
  | 'ServerErrors'
  | 'DefectsMet'
  | 'FunctionsThrottled'
  | 'RequestsThrottledOften'
  | 'SweepFoundOrphans'
  | 'SweepMissing'
  | 'SweepLags'
  | 'SweepFailuresPresent';
