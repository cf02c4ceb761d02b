import type { AddressInfo } from 'node:net';

import { buildApp } from 'fauxqs';

import { startDynamoDbLocal } from './dynamodb-local.ts';

/** The emulators of AWS services. They keep all data in memory and lose it with `stop`. */
export interface Emulators {
  readonly dynamoDbUrl: string;
  /** SQS and S3. */
  readonly fauxqsUrl: string;
  readonly javaPid: number;
  /** Resolves if an emulator ends unexpectedly. */
  readonly failed: Promise<Error>;
  stop(): Promise<void>;
}

/**
 * Starts DynamoDB Local, and fauxqs within this process.
 * @throws JavaMissingError
 */
export async function startEmulators(): Promise<Emulators> {
  const dynamoDb = await startDynamoDbLocal();
  try {
    const fauxqs = await startFauxqs();
    return {
      dynamoDbUrl: dynamoDb.url,
      fauxqsUrl: fauxqs.url,
      javaPid: dynamoDb.javaPid,
      failed: dynamoDb.failed,
      async stop() {
        await Promise.all([fauxqs.stop(), dynamoDb.stop()]);
      },
    };
  } catch (error) {
    await dynamoDb.stop();
    throw error;
  }
}

/** Starts SQS and S3 only. Does not use fauxqs' own `startFauxqs`, which listens on all interfaces. */
export async function startFauxqs(): Promise<{ url: string; stop(): Promise<void> }> {
  const fauxqs = buildApp({ logger: false });
  await fauxqs.listen({ host: '127.0.0.1', port: 0 });
  const { port } = fauxqs.server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      await fauxqs.close();
    },
  };
}
