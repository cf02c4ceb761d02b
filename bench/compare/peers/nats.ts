import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';

import { NotInstalled } from '../not-installed.ts';
import { freePort, startServer, type Started } from '../process.ts';

/**
 * NATS with JetStream on a directory of its own.
 * @param sync how often it syncs its files: `always` is before each acknowledgement, and needs
 *   version 2.10; earlier versions sync every two minutes
 */
export function startNats(sync: 'always' | 'default') {
  return async (dataDir: string): Promise<Started & { readonly address: string }> => {
    const version = natsVersion();
    const [major = 0, minor = 0] = (/[\d.]+/.exec(version)?.[0] ?? '').split('.').map(Number);
    if (sync === 'always' && (major < 2 || (major === 2 && minor < 10))) {
      throw new NotInstalled('NATS 2.10, which can sync before it acknowledges,');
    }
    const port = await freePort();
    const config = join(dataDir, 'nats.conf');
    const interval = sync === 'always' ? 'sync_interval: always' : '';
    writeFileSync(
      config,
      `listen: 127.0.0.1:${port}\njetstream { store_dir: "${join(dataDir, 'nats')}"\n${interval} }\n`,
    );
    const started = await startServer('nats-server', ['--config', config], () => isOpen(port));
    return { ...started, address: `127.0.0.1:${port}` };
  };
}

function isOpen(port: number): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => resolve(true));
    socket.on('connect', () => socket.destroy());
    socket.on('error', reject);
  });
}

export function natsVersion(): string {
  try {
    const printed = execFileSync('nats-server', ['--version']).toString();
    return `NATS ${/v([\d.]+)/.exec(printed)?.[1]}`;
  } catch {
    throw new NotInstalled('NATS');
  }
}
