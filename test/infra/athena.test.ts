import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';

import type { PutObjectCommand } from '@aws-sdk/client-s3';
import { App, Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { Bucket } from 'aws-cdk-lib/aws-s3';
import { HiveSQL, TrinoSQL } from 'dt-sql-parser';
import { describe, expect, test } from 'vitest';

import { DevicePipeline } from '../../infra/construct/index.ts';
import { batchIdMaker, rawKeyOf } from '../../src/domain/batch-id.ts';
import { s3BodyGroups } from '../../src/engines/aws/intake/body-groups.ts';
import type { CarriedBatch } from '../../src/pipeline/chunks/carried-batch.ts';
import { cdkContext, projectRoot, standInBundles, temporaryDirectory } from './support.ts';

interface Table {
  readonly Name: string;
  readonly Parameters?: Readonly<Record<string, string>>;
  readonly PartitionKeys?: readonly Column[];
  readonly StorageDescriptor: {
    readonly Columns: readonly Column[];
    readonly InputFormat: string;
    readonly OutputFormat: string;
    readonly Location: string;
    readonly SerdeInfo: { readonly SerializationLibrary: string };
  };
}

interface Column {
  readonly Name: string;
  readonly Type: string;
}

const [groups, raw] = tablesOf({ athena: true });
const page = readFileSync(join(projectRoot, 'docs/querying.md'), 'utf8');

function tablesOf(props: { athena: boolean; pipelineName?: string }): Table[] {
  const app = new App({ context: cdkContext, outdir: temporaryDirectory() });
  const stack = new Stack(app, 'Shop');
  const rawBucket = Bucket.fromBucketName(stack, 'Bucket', 'BUCKET');
  const bundlesDirectory = standInBundles();
  new DevicePipeline(stack, 'Events', { ...props, rawBucket, bundlesDirectory });
  const found = Object.values(Template.fromStack(stack).findResources('AWS::Glue::Table'));
  return found
    .map(({ Properties }) => (Properties as { TableInput: Table }).TableInput)
    .sort((a, b) => a.Name.localeCompare(b.Name));
}

/** The statement that creates the same table. */
function statementOf({ Name, Parameters, PartitionKeys, StorageDescriptor }: Table): string {
  const { Columns, InputFormat, OutputFormat, Location, SerdeInfo } = StorageDescriptor;
  const listed = (columns: readonly Column[]) =>
    columns.map((column) => `${column.Name} ${column.Type}`).join(', ');
  const properties = Object.entries(Parameters ?? {}).map(
    ([key, value]) => `'${key}' = '${value}'`,
  );
  return [
    `CREATE EXTERNAL TABLE ${Name} ( ${listed(Columns)} )`,
    ...(PartitionKeys === undefined ? [] : [`PARTITIONED BY (${listed(PartitionKeys)})`]),
    `ROW FORMAT SERDE '${SerdeInfo.SerializationLibrary}'`,
    `STORED AS INPUTFORMAT '${InputFormat}' OUTPUTFORMAT '${OutputFormat}'`,
    `LOCATION '${Location}'`,
    ...(properties.length === 0 ? [] : [`TBLPROPERTIES ( ${properties.join(', ')} )`]),
  ].join(' ');
}

/** The object that the processor writes for these batches. */
async function groupOf(
  batches: readonly CarriedBatch[],
): Promise<{ key: string; lines: object[] }> {
  const sent: PutObjectCommand['input'][] = [];
  const client = {
    send(command: PutObjectCommand) {
      sent.push(command.input);
      return Promise.resolve({});
    },
  };
  await s3BodyGroups(client, 'BUCKET').put(batches);
  const [{ Key = '', Body } = {}] = sent;
  const text = gunzipSync(Body as Uint8Array).toString('utf8');
  const lines = text.trimEnd().split('\n');
  return { key: Key, lines: lines.map((line) => JSON.parse(line) as object) };
}

const receivedAt = Date.parse('2026-11-29T23:59:59.999Z');
function batchOf(body: Buffer, more: Partial<CarriedBatch> = {}): CarriedBatch {
  const batchId = batchIdMaker((length) => Buffer.alloc(length, 7))(receivedAt, 1);
  return {
    ...{ batchId, receivedAt, body, encoding: 'identity', accepted: 1, rejected: 0, sha256: '' },
    ...more,
  };
}

/** The statements of the page, of which Athena reads those that create tables as Hive's, others as Trino's. */
function statementsOf(): string[] {
  const blocks = [...page.matchAll(/```sql\n(.*?)```/gs)].map(([, sql = '']) => sql);
  const statements = blocks.flatMap((sql) => sql.split(';')).map((text) => text.trim());
  return statements.filter((text) => text !== '');
}

function syntaxErrorsOf(statement: string): string[] {
  const parser = statement.startsWith('CREATE EXTERNAL') ? new HiveSQL() : new TrinoSQL();
  return parser.validate(`${statement};`).map(({ message }) => message);
}

describe('the tables for Athena', () => {
  test('are created, and queried, by statements without an error of syntax', () => {
    const statements = statementsOf();
    expect(statements.filter((one) => one.startsWith('CREATE EXTERNAL'))).toHaveLength(2);
    expect(statements.length).toBeGreaterThan(2);
    expect(statements.flatMap(syntaxErrorsOf)).toEqual([]);
    const [table = ''] = statements;
    for (const [correct, wrong] of [
      ['STORED AS', 'STORED'],
      ['PARTITIONED BY (day string)', 'PARTITIONED BY day'],
      ["'true',", "'true'"],
    ] as const) {
      expect(syntaxErrorsOf(table.replace(correct, wrong))).not.toEqual([]);
    }
  });

  test('are those that docs/querying.md shows', () => {
    expect([groups?.Name, raw?.Name]).toEqual(['body_groups', 'raw_bodies']);
    const [, sql = ''] = /```sql\n(CREATE.*?)```/s.exec(page) ?? [];
    const shown = sql.split(';').map((statement) => statement.replaceAll(/\s+/g, ' ').trim());
    expect(shown.filter((statement) => statement !== '')).toEqual(
      [groups, raw].map((table) => table && statementOf(table)),
    );
  });

  test('have a column of the right type for each member of a body group', async () => {
    const { key, lines } = await groupOf([
      batchOf(Buffer.from('{"processed_devices":[]}'), { keyId: 'k' }),
      batchOf(gzipSync('{"processed_devices":[]}'), { encoding: 'gzip' }),
    ]);
    expect(lines).toHaveLength(2);
    const types = new Map<string, string>();
    for (const [name, value] of lines.flatMap((line) => Object.entries(line))) {
      types.set(name, Number.isInteger(value) ? 'int' : typeof value);
    }
    const columns = groups?.StorageDescriptor.Columns.map(({ Name, Type }) => [Name, Type]);
    expect(Object.fromEntries(columns ?? [])).toEqual(Object.fromEntries(types));
    const template = groups?.Parameters?.['storage.location.template'];
    const location = template?.replace('${day}', '2026-11-29').replace('s3://BUCKET/', '');
    expect(key.startsWith(location ?? 'no template')).toBe(true);
    // Athena takes an object for gzip by the end of its name.
    expect(key).toMatch(/\.gz$/);
  });

  test('hold objects whose names the documented query finds by day', () => {
    const [, like = ''] = /"\$path" LIKE '%\/([^%]+)%'/.exec(page) ?? [];
    const key = rawKeyOf(batchOf(Buffer.from('')).batchId, receivedAt);
    expect([like, key.startsWith(like)]).toEqual(['raw/2026-11-29T', true]);
    expect(raw?.StorageDescriptor.Location).toBe('s3://BUCKET/raw/');
  });

  test('exist only if requested', () => {
    expect(tablesOf({ athena: false })).toEqual([]);
  });
});
