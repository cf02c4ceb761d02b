import { CfnDeletionPolicy, Duration, Lazy, RemovalPolicy } from 'aws-cdk-lib';
import {
  AttributeType,
  BillingMode,
  type CfnTable,
  Table,
  type ITable,
  type TableProps,
} from 'aws-cdk-lib/aws-dynamodb';
import {
  BlockPublicAccess,
  Bucket,
  BucketEncryption,
  ObjectOwnership,
  StorageClass,
  type IBucket,
  type LifecycleRule,
  type Transition,
} from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';

import { acceptFinding } from './accept-finding.ts';
import type { PipelineSettings } from '../settings.ts';

export interface Storage {
  readonly rawBucket: IBucket;
  readonly countersTable: ITable;
  readonly ledgerTable: ITable;
}

type TableKeys = Required<Pick<TableProps, 'partitionKey' | 'sortKey'>> &
  Pick<TableProps, 'timeToLiveAttribute'>;

export const countersKeys: TableKeys = {
  partitionKey: { name: 'date', type: AttributeType.STRING },
  sortKey: { name: 'type_state', type: AttributeType.STRING },
};
export const ledgerKeys: TableKeys = {
  partitionKey: { name: 'id', type: AttributeType.STRING },
  sortKey: { name: 'entry', type: AttributeType.STRING },
  timeToLiveAttribute: 'expires_at',
};

/**
 * The bucket of raw bodies, the counters table and the ledger table: existing ones, which stay as they
 * are, or new ones. New ones remain when the stack is deleted, unless `removalPolicy` is `destroy`.
 */
export function addStorage(
  scope: Construct,
  settings: PipelineSettings,
  existing: Partial<Storage>,
): Storage {
  const { rawBucket, countersTable, ledgerTable } = existing;
  return {
    rawBucket: rawBucket ?? addRawBucket(scope, settings),
    countersTable: countersTable ?? addTable(scope, 'Counters', settings, countersKeys),
    ledgerTable: ledgerTable ?? addTable(scope, 'Ledger', settings, ledgerKeys),
  };
}

function addTable(
  scope: Construct,
  id: string,
  settings: PipelineSettings,
  keys: TableKeys,
): ITable {
  const isRetained = settings.removalPolicy === 'retain';
  const table = new Table(scope, id, {
    ...keys,
    billingMode: BillingMode.PAY_PER_REQUEST,
    pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
    removalPolicy: isRetained ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
  });
  protectIfRetained(table.node.defaultChild as CfnTable);
  return table as ITable;
}

/**
 * Uses the policy at the end of the synthesis: an aspect such as `RemovalPolicies` may have set another.
 */
function protectIfRetained(table: CfnTable): void {
  table.deletionProtectionEnabled = Lazy.any({
    produce: () => table.cfnOptions.deletionPolicy === CfnDeletionPolicy.RETAIN,
  });
}

function addRawBucket(scope: Construct, settings: PipelineSettings): IBucket {
  const isRetained = settings.removalPolicy === 'retain';
  const bucket = new Bucket(scope, 'RawBucket', {
    blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
    objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
    encryption: BucketEncryption.S3_MANAGED,
    enforceSSL: true,
    versioned: true,
    lifecycleRules: lifecycleRules(settings),
    removalPolicy: isRetained ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    // Only an empty bucket can be deleted, so CloudFormation must empty it first.
    autoDeleteObjects: !isRetained,
  });
  // The policy stays with the bucket, which must require TLS even after the stack is deleted.
  if (isRetained) bucket.policy?.applyRemovalPolicy(RemovalPolicy.RETAIN);
  acceptFinding(
    bucket,
    'AwsSolutions-S1',
    'Only two functions of this stack read or write the bucket, the access log of the API and the names of the objects show what was received when, and a log bucket would have to be kept and paid for as long as this one.',
  );
  return bucket as IBucket;
}

function lifecycleRules(settings: PipelineSettings): LifecycleRule[] {
  const { rawExpiryDays } = settings;
  const transitions = [
    ...transition(StorageClass.INFREQUENT_ACCESS, settings.rawInfrequentAccessDays),
    ...transition(StorageClass.GLACIER_INSTANT_RETRIEVAL, settings.rawGlacierDays),
  ];
  return [
    {
      id: 'RawBodies',
      abortIncompleteMultipartUploadAfter: Duration.days(7),
      // The pipeline never overwrites or deletes objects: an older version is the result of a mistake,
      // which can be undone for a month.
      noncurrentVersionExpiration: Duration.days(30),
      ...(transitions.length > 0 && { transitions }),
      ...(rawExpiryDays !== 'never' && { expiration: Duration.days(rawExpiryDays) }),
    },
    // S3 does not allow this setting in a rule that also expires objects.
    { id: 'DeleteMarkers', expiredObjectDeleteMarker: true },
  ];
}

function transition(storageClass: StorageClass, days: 'never' | number): Transition[] {
  return days === 'never' ? [] : [{ storageClass, transitionAfter: Duration.days(days) }];
}
