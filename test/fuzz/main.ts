import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';

import { caseOf } from './cases.ts';
import { play } from './connection.ts';
import {
  besideCostly,
  besideSlow,
  costlyBodies,
  growingBodies,
  latency,
  timeOf,
  type Latency,
} from './loads.ts';
import { fuzz, FuzzFailure, readPieces, type FuzzSummary, type Progress } from './run.ts';
import { audit, startServer } from './served.ts';
import { memoryPeakMiB } from './watch.ts';

/**
 * Fuzzed requests over raw sockets to a real server. Usage:
 * npm run test:fuzz -- --requests 1000000 --seed 7
 * npm run test:fuzz -- --seed 7 --case 1234
 * npm run test:fuzz -- --replay half-close.R0VUIC8=
 * npm run test:fuzz -- --slow 1000       slow and idle clients, and how others fare
 * npm run test:fuzz -- --costly          bodies that cost the most, and how others fare
 * npm run test:fuzz -- --growing         time by length, for JSON of odd kinds
 */
const { values } = parseArgs({
  options: {
    requests: { type: 'string', default: '100000' },
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    case: { type: 'string' },
    replay: { type: 'string' },
    slow: { type: 'string' },
    costly: { type: 'boolean' },
    growing: { type: 'boolean' },
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
  } else if (values.slow !== undefined) {
    await slow(Number(values.slow));
  } else if (values.costly === true) {
    await costly();
  } else if (values.growing === true) {
    await growing();
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

async function slow(each: number): Promise<void> {
  const { before, during, after, openedMs, closed, toldLate } = await besideSlow(
    server.port,
    each,
    3 * each,
  );
  say(
    `${each} slow headers, ${each} slow bodies, ${3 * each} idle, opened in ${openedMs.toFixed(0)} ms`,
  );
  say(`another client, before   ${inWords(before)}`);
  say(`                during   ${inWords(during)}`);
  say(`      the minute after   ${inWords(after)}`);
  say(`closed ${closed} of ${5 * each}, refused as too slow ${toldLate}`);
  say(`peak ${memoryPeakMiB(server.pid).toFixed(0)} MiB`);
}

async function costly(): Promise<void> {
  say(`alone: ${inWords(await latency(server.port, 4))}`);
  for (const [name, [body, lines]] of Object.entries(costlyBodies)) {
    const measured = await besideCostly(server.port, body, lines, 5);
    say(`${name} (${body.length} bytes), ${measured.costly} of them: ${inWords(measured)}`);
  }
  say(`peak ${memoryPeakMiB(server.pid).toFixed(0)} MiB`);
}

async function growing(): Promise<void> {
  for (const [name, bodyOf] of Object.entries(growingBodies)) {
    const times: string[] = [];
    for (const kib of [250, 500, 1000, 2000]) {
      const body = Buffer.from(bodyOf(kib));
      times.push(
        `${Math.round(body.length / 1024)} KiB ${(await timeOf(server.port, body)).toFixed(0)} ms`,
      );
    }
    say(`${name}: ${times.join(', ')}`);
  }
}

function inWords({ requests, p50, p99, worst }: Latency): string {
  return `${requests} requests, p50 ${p50.toFixed(1)} ms, p99 ${p99.toFixed(1)} ms, worst ${worst.toFixed(0)} ms`;
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}
