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
  const pipeline = await EmbeddedPipeline.open({ ...embeddedDefaults, dataDir }, (defect) => {
    throw new Error(defect);
  });
  return { pipeline, database: dataPaths(dataDir).database };
}

it('a reader thread that could not be started is started by a later question', async () => {
  const { pipeline, database } = await openPipeline();
  try {
    renameSync(database, `${database}.away`);
    const asked = [pipeline.receipt(batchId), pipeline.receipt(batchId)];
    for (const question of asked)
      await expect(question).rejects.toMatchObject({ code: 'storage_failed' });
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
