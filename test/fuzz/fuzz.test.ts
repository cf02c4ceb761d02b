import { expect, it } from 'vitest';

import { startServer, temporaryDirectory } from '../support/processes/server-process.ts';
import { fuzz } from './run.ts';
import { isNightly, rounds } from '../support/run/tier.ts';

/*
 * A short run of `npm run test:fuzz`, which reports more and runs longer. Nightly the seed is another
 * each time; a failure prints it.
 */

const seed = Number(process.env['FUZZ_SEED'] ?? (isNightly() ? Date.now() % 2 ** 31 : 1));
const requests = rounds({ what: 'fuzzed requests', quick: 2_000, nightly: 200_000 });

/** Stated in docs/limits.md. */
const memoryMiBMax = 768;

it(`stands ${requests} fuzzed requests (FUZZ_SEED=${seed})`, { timeout: 3_600_000 }, async () => {
  const dataDir = temporaryDirectory();
  const { server, url } = await startServer(dataDir, { args: ['--allowed-host', 'fuzz,other'] });
  const target = { port: Number(new URL(url).port), pid: server.pid, dataDir };
  const summary = await fuzz(target, { seed, requests });
  expect(summary.answersByStatus.get(200)).toBeGreaterThan(requests / 16);
  expect(summary.answersByStatus.get(400)).toBeGreaterThan(requests / 16);
  expect(summary.probes).toBeGreaterThan(0);
  expect(summary.peakMiB).toBeLessThan(memoryMiBMax);
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
  expect(server.stderr).toBe('');
});
