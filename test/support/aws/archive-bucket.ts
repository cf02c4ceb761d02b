import { CreateBucketCommand, S3Client } from '@aws-sdk/client-s3';

import { startFauxqs } from '../../../infra/local/emulators/emulators.ts';
import { singleTry } from './aws-store.ts';
import { startS3WithConditions, type S3Faults } from './s3-with-conditions.ts';

/** An empty bucket for an archive, in a store within this process. */
export interface ArchiveBucket {
  /** For `--archive`. */
  readonly url: string;
  /** What the SDK reads from the environment, in this process or in a child. */
  readonly env: Readonly<Record<string, string>>;
  readonly faults: S3Faults;
  stop(): Promise<void>;
}

/** Starts the emulator of S3, which takes objects of up to 11 MiB, behind a proxy with conditions. */
export async function startArchiveBucket(prefix = 'prefix'): Promise<ArchiveBucket> {
  const store = await startFauxqs();
  const proxy = await startS3WithConditions(store.url);
  const env = environmentOf(proxy.url);
  const client = new S3Client({
    ...singleTry,
    region: 'eu-central-1',
    endpoint: store.url,
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    forcePathStyle: true,
  });
  await client.send(new CreateBucketCommand({ Bucket: 'archive' }));
  client.destroy();
  return {
    url: `s3://archive/${prefix}`,
    env,
    faults: proxy.faults,
    async stop() {
      await proxy.stop();
      await store.stop();
    },
  };
}

/** The settings of a store at this address, and none of the settings of this machine. */
export function environmentOf(storeUrl: string): Readonly<Record<string, string>> {
  return {
    AWS_ENDPOINT_URL_S3: storeUrl,
    AWS_REGION: 'eu-central-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    AWS_CONFIG_FILE: '/dev/null',
    AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
    AWS_EC2_METADATA_DISABLED: 'true',
  };
}
