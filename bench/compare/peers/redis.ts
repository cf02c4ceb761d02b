import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';

import { createClient } from '@redis/client';

import { NotInstalled } from '../not-installed.ts';
import { startServer, type Started } from '../process.ts';

/** Redis on a directory of its own, behind a Unix socket, with an append-only file. */
export function startRedis(appendfsync: 'always' | 'everysec') {
  return async (dataDir: string): Promise<Started & { readonly address: string }> => {
    redisVersion();
    const directory = join(dataDir, 'redis');
    mkdirSync(directory);
    const socket = join(directory, 'socket');
    const settings = {
      port: '0',
      unixsocket: socket,
      dir: directory,
      save: '',
      appendonly: 'yes',
      appendfsync,
      // No rewrite of the file falls into a run.
      'auto-aof-rewrite-percentage': '0',
    };
    const args = Object.entries(settings).flatMap(([name, value]) => [`--${name}`, value]);
    const started = await startServer('redis-server', args, async () => {
      const client = createClient({
        socket: { path: socket, tls: false, reconnectStrategy: false },
      });
      client.on('error', () => undefined);
      await client.connect();
      await client.close();
      return true;
    });
    return { ...started, address: socket };
  };
}

export function redisVersion(): string {
  try {
    const printed = execFileSync('redis-server', ['--version']).toString();
    return `Redis ${/v=([\d.]+)/.exec(printed)?.[1]}`;
  } catch {
    throw new NotInstalled('Redis');
  }
}
