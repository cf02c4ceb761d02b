import { execFileSync } from 'node:child_process';
import { release, tmpdir, totalmem } from 'node:os';

import { machine } from '../growth/machine.ts';
import { clickHouseVersion } from './peers/clickhouse.ts';
import { NotInstalled } from './not-installed.ts';
import { natsVersion } from './peers/nats.ts';
import { postgresVersion } from './peers/postgres.ts';
import { rabbitMqVersion } from './peers/rabbitmq.ts';
import { redisVersion } from './peers/redis.ts';

/** Machine, commit and versions, line by line. */
export function describeMachine(): string[] {
  const gibibytes = Math.round(totalmem() / 2 ** 30);
  const fileSystem = execFileSync('stat', ['-f', '-c', '%T', tmpdir()]).toString().trim();
  const databases = [postgresVersion, redisVersion, clickHouseVersion];
  const versions = [...databases, natsVersion, rabbitMqVersion].map(orMissing);
  return [
    machine(),
    `${gibibytes} GiB memory, Linux ${release()}, data on ${fileSystem}`,
    versions.join(', '),
  ];
}

function orMissing(version: () => string): string {
  try {
    return version();
  } catch (error) {
    if (error instanceof NotInstalled) return error.message;
    throw error;
  }
}
