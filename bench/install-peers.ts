import { spawnSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';

/**
 * Installs the databases and brokers that `npm run bench` compares with, from Debian's packages; run it
 * as root. It starts none of their services: the benchmark starts its own, on temporary directories.
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
// Exit code 101 makes packages install without starting their services.
if (isOurs) writeFileSync(policy, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
try {
  run('apt-get', 'update');
  for (const name of packages) {
    // A package that a Debian release lacks is skipped; the benchmark reports it.
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
