import { Aws, Token } from 'aws-cdk-lib';
import { CfnDatabase, CfnTable } from 'aws-cdk-lib/aws-glue';
import type { IBucket } from 'aws-cdk-lib/aws-s3';
import type { Construct } from 'constructs';

import type { PipelineSettings } from '../settings.ts';
import { physicalName, usualName } from './physical-name.ts';

/** The members of a line of a body group (src/pipeline/chunks/carried-batch.ts). */
const groupColumns = {
  ...{ version: 'int', form: 'string' },
  ...{ batch_id: 'string', raw_key: 'string', received_at: 'string' },
  ...{ accepted: 'int', rejected: 'int', encoding: 'string', key_id: 'string' },
  ...{ sha256: 'string', body: 'string', body_base64: 'string' },
};

/** The first day that queries look for; body groups are younger. */
const firstDay = '2026-01-01';
const lines = {
  inputFormat: 'org.apache.hadoop.mapred.TextInputFormat',
  outputFormat: 'org.apache.hadoop.hive.ql.io.HiveIgnoreKeyTextOutputFormat',
};

/**
 * A database of the Glue catalogue with a table over the body groups, by day, and one over the raw bodies
 * that are objects of their own, for Athena and other readers of the catalogue. Both are metadata only.
 */
export function addAthena(
  scope: Construct,
  settings: PipelineSettings,
  rawBucket: IBucket,
): CfnDatabase {
  const name = databaseName(scope, settings);
  const database = new CfnDatabase(scope, 'Athena', {
    catalogId: Aws.ACCOUNT_ID,
    databaseInput: { name, description: `Raw bodies of ${settings.pipelineName}` },
  });
  const addTable = (id: string, tableInput: CfnTable.TableInputProperty) => {
    new CfnTable(scope, id, {
      ...{ catalogId: Aws.ACCOUNT_ID, databaseName: database.ref },
      tableInput: { tableType: 'EXTERNAL_TABLE', ...tableInput },
    });
  };
  const bucket = `s3://${rawBucket.bucketName}`;
  addTable('BodyGroupsTable', {
    name: 'body_groups',
    description: 'A row for each batch whose message carried its body; perhaps several',
    partitionKeys: [{ name: 'day', type: 'string' }],
    storageDescriptor: {
      ...lines,
      columns: Object.entries(groupColumns).map(([column, type]) => ({ name: column, type })),
      location: `${bucket}/grouped/`,
      serdeInfo: { serializationLibrary: 'org.openx.data.jsonserde.JsonSerDe' },
    },
    parameters: {
      'projection.enabled': 'true',
      'projection.day.type': 'date',
      'projection.day.format': 'yyyy-MM-dd',
      'projection.day.range': `${firstDay},NOW`,
      'storage.location.template': `${bucket}/grouped/\${day}/`,
    },
  });
  addTable('RawBodiesTable', {
    name: 'raw_bodies',
    description: 'A row for each line of a body that is an object of its own',
    storageDescriptor: {
      ...lines,
      columns: [{ name: 'body', type: 'string' }],
      location: `${bucket}/raw/`,
      // Its columns end at the character U+0001, which JSON does not contain: a line is one column.
      serdeInfo: { serializationLibrary: 'org.apache.hadoop.hive.serde2.lazy.LazySimpleSerDe' },
    },
  });
  return database;
}

/** Athena accepts letters, digits and underscores. */
function databaseName(scope: Construct, settings: PipelineSettings): string {
  const isToken = Token.isUnresolved(settings.pipelineName);
  const name = isToken ? usualName(scope) : physicalName(scope, settings);
  return name.toLowerCase().replaceAll(/[^a-z0-9]/g, '_');
}
