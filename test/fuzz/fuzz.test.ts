import { expect, it } from 'vitest';

import { startServer, temporaryDirectory } from '../support/server-process.ts';
import { fuzz } from './run.ts';

/*
 * A short run of `npm run test:fuzz`, which tells more and goes on for longer. The seed is another
 * each time; a failure prints it.
 */

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31);

/** Stated in ARCHITECTURE.md. */
const memoryMiBMax = 768;

it(`stands 8,000 fuzzed requests (FUZZ_SEED=${seed})`, { timeout: 300_000 }, async () => {
  const dataDir = temporaryDirectory();
  const { server, url } = await startServer(dataDir, { args: ['--allowed-host', 'fuzz,other'] });
  const target = { port: Number(new URL(url).port), pid: server.pid, dataDir };
  const summary = await fuzz(target, { seed, requests: 8_000 });
  expect(summary.answersByStatus.get(200)).toBeGreaterThan(500);
  expect(summary.answersByStatus.get(400)).toBeGreaterThan(500);
  expect(summary.probes).toBeGreaterThan(0);
  expect(summary.peakMiB).toBeLessThan(memoryMiBMax);
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
  expect(server.stderr).toBe('');
});
