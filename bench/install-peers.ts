import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Installs what `npm run bench` compares with, from Debian's packages; to be run as root. No
 * service of theirs is started: the benchmark starts its own, on temporary directories.
 */
const packages = [
  ...['wrk', 'postgresql', 'redis-server', 'clickhouse-server'],
  ...['nats-server', 'rabbitmq-server'],
];
const policy = '/usr/sbin/policy-rc.d';

if (process.getuid?.() !== 0) {
  process.stderr.write('Run this as root: it installs packages.\n');
  process.exit(1);
}
const isOurs = !existsSync(policy);
// 101 is how packages are told that a service may not be started.
if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
try {
  run('apt-get', 'update');
  for (const name of packages) {
    // One that a release does not have is left out; the benchmark says so.
    if (!run('apt-get', 'install', '-y', '--no-install-recommends', name)) {
      process.stderr.write(`${name} was not installed\n`);
    }
  }
} finally {
  if (isOurs) rmSync(policy);
}

function run(command: string, ...args: string[]): boolean {
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  return spawnSync(command, args, { stdio: 'inherit', env }).status === 0;
}
