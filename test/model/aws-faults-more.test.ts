import { env } from 'node:process';

import { describe } from 'vitest';

import { testSeeds } from './aws-fault-suite.ts';

/** The other half of the seeds, in a file of its own: files run side by side. */
describe.runIf(env['AWS_FAULTS_SEED'] === undefined)('the AWS engine under more schedules', () => {
  testSeeds(2_500, 5_000);
});
