import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

import { describe, expect, it } from 'vitest';

import { startArchiveBucket } from '../../support/aws/archive-bucket.ts';
import { smallServer } from '../../support/processes/killed-server.ts';
import { loseMachines } from '../../support/processes/lost-machines.ts';
import { afterTest, temporaryDirectory } from '../../support/processes/server-process.ts';
import { isNightly, rounds } from '../../support/run/tier.ts';

const seed = Number(process.env['KILL_SEED'] ?? 1);
const syncMachines = rounds({ what: 'machines lost with a sync archive', quick: 1, nightly: 100 });
const smallMachines = rounds({
  what: 'machines lost with small segments, which they remove',
  ...{ quick: 1, nightly: 50 },
});
const asyncMachines = rounds({ what: 'machines lost with an archive', quick: 1, nightly: 100 });

async function bucket() {
  const started = await startArchiveBucket();
  afterTest(() => started.stop());
  return started;
}

function directory() {
  const path = join(temporaryDirectory(), 'archive');
  mkdirSync(path);
  return { url: pathToFileURL(path).href, env: {} };
}

describe('machines that are lost with their disks', () => {
  it.each(
    [
      { what: 'S3', place: bucket },
      { what: 'a directory', place: directory },
    ].slice(0, isNightly() ? 2 : 1),
  )(
    `lose nothing acknowledged that is archived in $what before the answer (seed ${seed})`,
    async ({ place }) => {
      const archive = await place();
      const machines = Math.ceil(syncMachines / 2);
      const summary = await loseMachines({ machines, seed, mode: 'sync', ...archive });
      expect(summary.violations).toEqual([]);
      expect(summary.lost).toBe(0);
      expect(summary.acknowledged).toBeGreaterThan(machines);
    },
    3_600_000,
  );

  it(`keep in the archive what they have removed themselves (seed ${seed})`, async () => {
    const archive = directory();
    const options = {
      machines: smallMachines,
      seed,
      mode: 'sync',
      program: smallServer,
      batches: 150,
    } as const;
    const summary = await loseMachines({ ...options, ...archive });
    expect(summary.violations).toEqual([]);
    expect(summary.lost).toBe(0);
    const names = readdirSync(fileURLToPath(archive.url), { recursive: true, encoding: 'utf8' });
    // Otherwise nothing was merged.
    expect(names.filter((name) => name.includes('/log/')).length).toBeGreaterThan(3);
  }, 3_600_000);

  it(`lose what was not archived, and no more (seed ${seed})`, async () => {
    const archive = directory();
    const summary = await loseMachines({
      machines: asyncMachines,
      seed,
      mode: 'async',
      ...archive,
    });
    expect(summary.violations).toEqual([]);
    expect(summary.acknowledged).toBeGreaterThan(asyncMachines);
  }, 3_600_000);
});
