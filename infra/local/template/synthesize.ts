import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { App } from 'aws-cdk-lib';

import { bundleHandlers, bundlesDirectory } from '../../bundle.ts';
import { addPipelineStack } from '../../stack/pipeline-stack.ts';
import { readSettings } from '../../read-settings.ts';

// Run by synthesizedTemplate: writes the template and the path of the bundles to a directory.

const [directory = '', settingsJson = '{}'] = process.argv.slice(2);
const root = fileURLToPath(new URL('../../..', import.meta.url));
const overrides = JSON.parse(settingsJson) as Record<string, unknown>;
// The emulators start empty.
const storage = { rawBucketName: 'new', countersTableName: 'new', ledgerTableName: 'new' };
// Neither is emulated, and the API accepts the same requests.
const options = { functionUrl: 'off', athena: 'off' };
const reading = readSettings({ tokens: 'off', ...overrides, ...storage, ...options }, root);
if (reading.kind === 'wrong') {
  process.stderr.write(`${reading.problems.join('\n')}\n`);
  process.exitCode = 1;
} else {
  await bundleHandlers();
  const app = new App({
    outdir: join(directory, 'cdk.out'),
    analyticsReporting: false,
    // Skips a check of three seconds, which `cdk synth` does anyway.
    builtinCloudFormationValidation: false,
  });
  const stack = addPipelineStack(app, reading.settings, bundlesDirectory);
  const { template } = app.synth().getStackArtifact(stack.artifactId) as { template: unknown };
  await writeFile(join(directory, 'template.json'), JSON.stringify(template));
  await writeFile(join(directory, 'bundles.json'), JSON.stringify({ bundlesDirectory }));
}
