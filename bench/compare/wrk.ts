import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';

import { bodyOf } from './traffic.ts';

export interface Load {
  readonly items: number;
  readonly connections: number;
  readonly seconds: number;
  readonly token?: string | undefined;
}

export interface LoadFigures {
  readonly requestsPerSecond: number;
  /** Requests answered. */
  readonly answered: number;
  /** Milliseconds. */
  readonly p50: number;
  readonly p99: number;
}

/**
 * One request in flight on each connection, sent by wrk: a load generator in Node takes as much CPU time
 * as a server. Requests in flight at the end do not count as answered.
 * @throws if a response was not 200, or a connection failed.
 */
export async function runWrk(url: string, load: Load, directory: string): Promise<LoadFigures> {
  const { token } = load;
  const authorization =
    token === undefined ? '' : `wrk.headers['authorization'] = 'Bearer ${token}'\n`;
  const script = join(directory, 'post.lua');
  writeFileSync(
    script,
    `wrk.method = 'POST'\nwrk.headers['content-type'] = 'application/json'\n` +
      `wrk.headers['user-agent'] = 'wrk'\nwrk.headers['accept'] = '*/*'\n` +
      authorization +
      `wrk.body = '${bodyOf(load.items)}'\n`,
  );
  const { stdout } = await promisify(execFile)('wrk', [
    '--threads=1',
    `--connections=${load.connections}`,
    `--duration=${load.seconds}s`,
    '--timeout=30s',
    '--latency',
    `--script=${script}`,
    `${url}/ingest`,
  ]);
  const failure = /Non-2xx.*|Socket errors.*/.exec(stdout);
  if (failure !== null) throw new Error(`${url}: ${failure[0]}`);
  return {
    requestsPerSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]),
    answered: Number(/(\d+) requests in/.exec(stdout)?.[1]),
    p50: milliseconds(/50%\s+([\d.]+[mu]?s)/.exec(stdout)?.[1]),
    p99: milliseconds(/99%\s+([\d.]+[mu]?s)/.exec(stdout)?.[1]),
  };
}

function milliseconds(text = ''): number {
  const scale = text.endsWith('us') ? 1e-3 : text.endsWith('ms') ? 1 : 1e3;
  return parseFloat(text) * scale;
}
