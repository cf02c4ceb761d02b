import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { caseOf } from './cases.ts';
import { play } from './connection.ts';
import { fuzz, FuzzFailure, readPieces, type FuzzSummary, type Progress } from './run.ts';
import { audit, startServer } from './served.ts';

/**
 * Fuzzed requests over raw sockets to a real server. Usage:
 * npm run test:fuzz -- --requests 1000000 --seed 7
 * npm run test:fuzz -- --seed 7 --case 1234
 * npm run test:fuzz -- --replay half-close.R0VUIC8=
 */
const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    case: { type: 'string' },
    replay: { type: 'string' },
  },
});
const seed = Number(values.seed);
const dataDir = mkdtempSync(join(tmpdir(), 'device-pipeline-fuzz-'));
const server = await startServer(dataDir);
try {
  if (values.replay !== undefined) {
    await replay(readPieces(values.replay));
  } else if (values.case !== undefined) {
    await replay(caseOf(seed, Number(values.case)));
  } else {
    await runAll();
  }
} catch (error) {
  if (!(error instanceof FuzzFailure)) throw error;
  say(`seed ${seed}`);
  say(error.message);
  process.exitCode = 1;
} finally {
  await server.stop();
  rmSync(dataDir, { recursive: true });
}

async function runAll(): Promise<void> {
  say(`seed ${seed}, ${values.requests} requests`);
  const requests = Number(values.requests);
  let saidAt = performance.now();
  const onProgress = (done: Progress) => {
    if (performance.now() - saidAt < 10_000) return;
    saidAt = performance.now();
    say(`${done.requests} requests, ${done.connections} connections, ${done.seconds.toFixed(0)} s`);
  };
  const summary = await fuzz(
    { port: server.port, pid: server.pid, dataDir },
    { seed, requests, onProgress },
  );
  report(summary);
  await server.stop();
  if (server.stderr() !== '') throw new FuzzFailure(`the server says: ${server.stderr()}`);
  say(audit(dataDir));
}

function report(summary: FuzzSummary): void {
  const { requests, connections, seconds, answersByStatus, connectionsByShape } = summary;
  say(
    `requests   ${requests} on ${connections} connections, ${seconds.toFixed(1)} s, ${Math.round(requests / seconds)} a second`,
  );
  say(`answers    ${listOf(answersByStatus)}`);
  say(`shapes     ${listOf(connectionsByShape)}`);
  say(
    `counted    ${summary.soundItems} items of sound batches beside them, ${summary.answeredItems} of fuzzed requests, as answered; none smuggled`,
  );
  say(
    `health     ${summary.probes} probes, the slowest ${summary.slowestMs.toFixed(0)} ms; peak ${summary.peakMiB.toFixed(0)} MiB`,
  );
}

function listOf(counts: ReadonlyMap<string | number, number>): string {
  const sorted = [...counts].sort(([a], [b]) => String(a).localeCompare(String(b)));
  return sorted.map(([name, count]) => `${name}: ${count}`).join(', ');
}

async function replay(sent: ReturnType<typeof readPieces>): Promise<void> {
  say(`sent\n${Buffer.concat(sent.pieces).toString('latin1')}`);
  const received = await play(server.port, '127.0.0.1', sent);
  say(`\nreceived\n${received.toString('latin1')}`);
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
