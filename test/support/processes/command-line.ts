import { spawn } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';

import { beforeEach } from 'vitest';

import { commandPath } from './command-path.ts';
import { afterTest, temporaryDirectory } from './server-process.ts';
import { withoutProgress } from './without-progress.ts';

export interface Received {
  method: string;
  url: string;
  key: string;
  headers: IncomingMessage['headers'];
  body: Buffer;
}

export type Answer = (response: ServerResponse, request: Received) => void;

/** The items with errors, as the real server would report them; empty if all are valid. */
export const accept: Answer = (response, { body }) => {
  const document = JSON.parse(new TextDecoder().decode(body)) as {
    processed_devices: { bad?: boolean }[];
  };
  const errors = document.processed_devices.flatMap(({ bad }, index) =>
    bad ? [{ index, field: 'state', code: 'missing', message: 'There is no state.' }] : [],
  );
  const enqueued = document.processed_devices.length - errors.length;
  const refusals =
    errors.length === 0 ? {} : { rejected: errors.length, errors: errors.slice(0, 20) };
  send(response, 200, { status: 'accepted', raw_key: 'raw/x.json', enqueued, ...refusals });
};

export function send(response: ServerResponse, status: number, body: object, headers = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers });
  response.end(JSON.stringify(body));
}

/** The requests of this test so far. */
export const received: Received[] = [];
/** The responses to the next requests; without one, a request is accepted. */
export const answers: Answer[] = [];
/** The URL of this test's server. */
export let url: string;
/** The working directory of this test's commands. */
export let directory: string;
let server: Server;

beforeEach(async () => {
  received.splice(0);
  answers.splice(0);
  directory = temporaryDirectory();
  server = createServer((request, response) => {
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const { method = '', url: path = '', headers } = request;
      const key = String(headers['idempotency-key']);
      const one = { method, url: path, key, headers, body: Buffer.concat(parts) };
      received.push(one);
      (answers.shift() ?? accept)(response, one);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  afterTest(closeServer);
  url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});

/** From now on no server listens at `url`. */
export async function closeServer(): Promise<void> {
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
}

export interface Outcome {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Starts a command in the test's directory, without settings from the environment. */
export function start(args: string[], input?: string | Buffer, env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [commandPath, ...args], {
    cwd: directory,
    env: {
      PATH: process.env['PATH'],
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'],
      ...env,
    },
  });
  afterTest(() => void child.kill('SIGKILL'));
  const output = { stdout: '', stderr: '' };
  child.stdout.on('data', (text: Buffer) => (output.stdout += text.toString()));
  child.stderr.on('data', (text: Buffer) => (output.stderr += text.toString()));
  if (input !== undefined) child.stdin.end(input);
  const outcome = new Promise<Outcome>((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => {
      resolve({ code, ...output, stderr: withoutProgress(output.stderr) });
    });
  });
  return { child, outcome };
}

/** Runs a command to its end. */
export function run(
  args: string[],
  input?: string | Buffer,
  env?: Record<string, string>,
): Promise<Outcome> {
  return start(args, input, env).outcome;
}

/** Writes a file into the test's directory; returns its path. */
export async function file(name: string, content: string | Buffer): Promise<string> {
  const path = join(directory, name);
  await writeFile(path, content);
  return path;
}

/** All received items, in the order of the first items of the batches. */
export function itemsReceived(): unknown[] {
  return received.flatMap(({ body }) => {
    return (JSON.parse(body.toString()) as { processed_devices: unknown[] }).processed_devices;
  });
}

export function numbered(count: number): { n: number }[] {
  return Array.from({ length: count }, (_, n) => ({ n }));
}
