import { Command } from 'commander';
import { expect, it, vi } from 'vitest';

import { EmbeddedPipeline } from '../../../src/engines/embedded/embedded-pipeline.ts';
import { embeddedDefaults } from '../../../src/engines/embedded/options.ts';
import { addServeOptions, serveOptions } from '../../../src/entry/serve/serve-options.ts';
import { newDataDirectory } from '../../support/embedded-store.ts';

it('a start that fails once the storage is open releases it', async () => {
  const dataDir = newDataDirectory();
  vi.doMock('../../../src/entry/pages.ts', () => ({
    readPages() {
      throw new Error('the pages are cut short');
    },
  }));
  const { serve } = await import('../../../src/entry/serve/serve.ts');
  vi.doUnmock('../../../src/entry/pages.ts');
  const command = addServeOptions(new Command());
  command.parse(['--data-dir', dataDir, '--port', '0', '--log-level', 'silent'], { from: 'user' });
  await expect(serve(serveOptions(command, {}), '0.0.0')).rejects.toThrow('cut short');
  // Another process would find the lock of this one.
  const pipeline = await EmbeddedPipeline.open({ ...embeddedDefaults, dataDir }, () => undefined);
  await pipeline.close();
});
