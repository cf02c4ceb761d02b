import { env } from 'node:process';

import { describe } from 'vitest';

import { testSeeds } from './aws-fault-suite.ts';
import { rounds } from '../support/tier.ts';

const schedules = rounds({ what: 'schedules of faults on AWS', quick: 250, nightly: 10_000 });

/** The other half of the seeds, in a file of its own: files run side by side. */
describe.runIf(env['AWS_FAULTS_SEED'] === undefined)('the AWS engine under more schedules', () => {
  testSeeds(20_000, 20_000 + schedules);
});
