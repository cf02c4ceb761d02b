import type { LifecycleRule } from '@aws-sdk/client-s3';
import { expect, it } from 'vitest';

import { expiryOfBucket } from '../../../src/engines/aws/intake/raw-expiry.ts';

const dayMs = 86_400_000;

function bucketWith(Rules: LifecycleRule[] | Error) {
  const send = () => (Rules instanceof Error ? Promise.reject(Rules) : Promise.resolve({ Rules }));
  return expiryOfBucket({ send } as never, 'bucket');
}

const rule = (Days: number, more: Partial<LifecycleRule> = {}): LifecycleRule => ({
  ...{ Status: 'Enabled', Expiration: { Days } },
  ...more,
});

it('is the shortest of the rules for raw bodies', async () => {
  expect(await bucketWith([rule(400)])).toBe(400 * dayMs);
  expect(await bucketWith([rule(400), rule(60, { Filter: { Prefix: 'raw/' } })])).toBe(60 * dayMs);
  expect(await bucketWith([rule(60, { Filter: { And: { Prefix: 'raw/2026' } } })])).toBe(
    60 * dayMs,
  );
});

it('is undefined without a rule for raw bodies', async () => {
  const missing = Object.assign(new Error(), { name: 'NoSuchLifecycleConfiguration' });
  expect(await bucketWith(missing)).toBeUndefined();
  expect(
    await bucketWith([
      rule(1, { Status: 'Disabled' }),
      rule(1, { Filter: { Prefix: 'logs/' } }),
      { Status: 'Enabled', Expiration: { ExpiredObjectDeleteMarker: true } },
    ]),
  ).toBeUndefined();
});

it('fails if the rules cannot be read', async () => {
  const denied = Object.assign(new Error('denied'), { name: 'AccessDenied' });
  await expect(bucketWith(denied)).rejects.toThrow('denied');
});
