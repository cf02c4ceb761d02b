import { renameSync } from 'node:fs';

import { expect, it } from 'vitest';

import { dataPaths } from '../../../../src/engines/embedded/data-directory.ts';
import { EmbeddedPipeline } from '../../../../src/engines/embedded/embedded-pipeline.ts';
import { embeddedDefaults } from '../../../../src/engines/embedded/options.ts';
import type { Unavailable } from '../../../../src/pipeline/ports.ts';
import { newDataDirectory } from '../../../support/embedded-store.ts';

const batchId = 'A'.repeat(22);

async function openPipeline() {
  const dataDir = newDataDirectory();
  const problems: string[] = [];
  const pipeline = await EmbeddedPipeline.open(
    { ...embeddedDefaults, dataDir },
    (problem) => void problems.push(problem),
  );
  return { pipeline, database: dataPaths(dataDir).database, problems };
}

it('a reader thread that could not be started is started by a later question', async () => {
  const { pipeline, database, problems } = await openPipeline();
  try {
    renameSync(database, `${database}.away`);
    const asked = [pipeline.receipt(batchId), pipeline.receipt(batchId)];
    for (const question of asked)
      await expect(question).rejects.toMatchObject({ code: 'storage_failed' });
    expect(problems).toEqual([
      expect.stringMatching(/^The counters cannot be read: There is no pipeline at /),
    ]);
    renameSync(`${database}.away`, database);
    expect(await pipeline.receipt(batchId)).toBeUndefined();
  } finally {
    await pipeline.close();
  }
});

it('a stop while a reader thread starts waits for it, and answers no question after it', async () => {
  const { pipeline } = await openPipeline();
  const asked = pipeline.receipt(batchId);
  const closed = pipeline.close();
  expect(await asked.catch((error: unknown) => (error as Unavailable).code)).toBeOneOf([
    undefined,
    'stopping',
  ]);
  await closed;
  await expect(pipeline.receipt(batchId)).rejects.toMatchObject({ code: 'stopping' });
});
