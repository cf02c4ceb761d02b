import { afterAll, beforeAll, expect } from 'vitest';

import { createStore, startAws, type AwsEmulators } from '../../support/aws/aws-store.ts';
import { EmulatedBackend } from '../simulated-aws/aws-emulated-backend.ts';
import { runSchedule } from './aws-schedule.ts';
import { needs } from '../../support/run/needs.ts';
import { rounds } from '../../support/run/tier.ts';

const { describe, it } = needs('Java');

const seeds = rounds({ what: 'schedules on the emulators', quick: 2, nightly: 100 });

/** The schedules of the simulation, on third-party emulators. */
describe('the AWS engine on DynamoDB Local and fauxqs', () => {
  let aws: AwsEmulators;
  beforeAll(async () => {
    aws = await startAws();
  });
  afterAll(() => aws.stop());

  it.each(Array.from({ length: seeds }, (_, at) => at))(
    'counts exactly in the schedule of the seed %i',
    async (seed) => {
      const store = await createStore(aws);
      await expect(
        runSchedule(seed, { makeBackend: (given) => new EmulatedBackend(aws, store, given) }),
      ).resolves.toBeUndefined();
    },
  );
});
