import { App } from 'aws-cdk-lib';

import { bundleHandlers, bundlesDirectory } from './bundle.ts';
import { addPipelineStack } from './stack/pipeline-stack.ts';
import { readSettings } from './read-settings.ts';

/** The CDK's tool runs this (cdk.json), with the app's context in its environment. */
async function main(): Promise<void> {
  const app = new App();
  const reading = readSettings(app.node.getAllContext() as Record<string, unknown>, process.cwd());
  if (reading.kind === 'wrong') {
    fail(reading.problems);
    return;
  }
  try {
    await bundleHandlers();
  } catch (error) {
    fail([`The handlers cannot be bundled: ${(error as Error).message}`]);
    return;
  }
  addPipelineStack(app, reading.settings, bundlesDirectory);
  app.synth();
}

function fail(problems: string[]): void {
  process.stderr.write(`${problems.join('\n')}\n`);
  process.exitCode = 1;
}

await main();
