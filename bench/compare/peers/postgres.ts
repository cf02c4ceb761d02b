import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';

import pg from 'pg';

import { NotInstalled } from '../not-installed.ts';
import { startServer, type Started } from '../process.ts';

const versions = '/usr/lib/postgresql';

/**
 * Durable as it is by default (fsync, full_page_writes and synchronous_commit are on), with memory
 * and a log that are large enough for no checkpoint to fall into a run.
 */
const settings = {
  listen_addresses: '',
  shared_buffers: '512MB',
  wal_buffers: '64MB',
  max_wal_size: '8GB',
  checkpoint_timeout: '30min',
  wal_compression: 'off',
  autovacuum_naptime: '10s',
  jit: 'off',
};

/** PostgreSQL on a directory of its own, behind a Unix socket. */
export async function startPostgres(
  dataDir: string,
): Promise<Started & { readonly address: string }> {
  const binaries = join(versions, newest(), 'bin');
  const directory = join(dataDir, 'postgres');
  mkdirSync(directory);
  // It refuses to run as root.
  const asUser = process.getuid?.() === 0 ? ['--reuid=postgres', '--regid=postgres'] : [];
  if (asUser.length > 0) {
    chmodSync(dataDir, 0o755);
    execFileSync('chown', ['postgres:postgres', directory]);
  }
  const run = (name: string, ...args: string[]): [string, string[]] =>
    asUser.length > 0
      ? ['setpriv', [...asUser, '--clear-groups', join(binaries, name), ...args]]
      : [join(binaries, name), args];
  const data = join(directory, 'data');
  execFileSync(...run('initdb', '-D', data, '-A', 'trust', '-U', 'bench', '-E', 'UTF8'), {
    stdio: 'ignore',
  });
  const options = Object.entries({ ...settings, unix_socket_directories: directory });
  const [command, args] = run(
    'postgres',
    '-D',
    data,
    ...options.flatMap(([name, value]) => ['-c', `${name}=${value}`]),
  );
  const started = await startServer(command, args, async () => {
    const client = new pg.Client({ host: directory, user: 'bench', database: 'postgres' });
    await client.connect();
    await client.end();
    return true;
  });
  return { ...started, address: directory };
}

function newest(): string {
  const found = existsSync(versions) ? readdirSync(versions).map(Number) : [];
  if (found.length === 0) throw new NotInstalled('PostgreSQL');
  return String(Math.max(...found));
}

export function postgresVersion(): string {
  const binary = join(versions, newest(), 'bin/postgres');
  return execFileSync(binary, ['--version']).toString().trim();
}
