import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

import { App } from 'aws-cdk-lib';

import { bundleHandlers, bundlesDirectory } from '../../bundle.ts';
import { addPipelineStack } from '../../stack/pipeline-stack.ts';
import { readSettings } from '../../read-settings.ts';

// Run by synthesizedTemplate: leaves the template and the place of the bundles in a directory.

const [directory = '', settingsJson = '{}'] = process.argv.slice(2);
const root = fileURLToPath(new URL('../../..', import.meta.url));
const overrides = JSON.parse(settingsJson) as Record<string, unknown>;
// The emulators begin empty.
const storage = { rawBucketName: 'new', countersTableName: 'new', ledgerTableName: 'new' };
const reading = readSettings({ tokens: 'off', ...overrides, ...storage }, root);
if (reading.kind === 'wrong') {
  process.stderr.write(`${reading.problems.join('\n')}\n`);
  process.exitCode = 1;
} else {
  await bundleHandlers();
  const app = new App({
    outdir: join(directory, 'cdk.out'),
    analyticsReporting: false,
    // Takes three seconds; `cdk synth` itself does it.
    builtinCloudFormationValidation: false,
  });
  const stack = addPipelineStack(app, reading.settings, bundlesDirectory);
  const { template } = app.synth().getStackArtifact(stack.artifactId) as { template: unknown };
  await writeFile(join(directory, 'template.json'), JSON.stringify(template));
  await writeFile(join(directory, 'bundles.json'), JSON.stringify({ bundlesDirectory }));
}
