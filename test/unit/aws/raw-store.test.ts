import { expect, it } from 'vitest';

import { dayRule } from '../../../src/domain/day.ts';
import { s3RawStore } from '../../../src/engines/aws/intake/raw-store.ts';
import { recut } from '../../../src/pipeline/chunks/recut.ts';

const rawKey = 'raw/2023-06-16T12:00:00.000Z-019b770e-7be9-7000-9f05-000000000000.json';
const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const body = Buffer.from(JSON.stringify({ processed_devices: [item] }));

/** The store of a bucket with one object, which has this metadata. */
function storeWith(Metadata: Record<string, string> | undefined) {
  const object = {
    Metadata,
    ContentLength: body.length,
    Body: { transformToByteArray: () => Promise.resolve(body) },
  };
  return s3RawStore({ send: () => Promise.resolve(object) } as never, 'bucket');
}

async function reasonFor(metadata: Record<string, string> | undefined) {
  const raw = await storeWith(metadata).get(rawKey);
  if (raw === undefined) throw new Error('it is not there');
  const cut = recut(raw, dayRule('as-written'));
  return 'reason' in cut ? cut.reason : cut.chunks.length;
}

const ours = { accepted: '1', rejected: '0', 'items-per-message': 'packed' };
const by = 'in the metadata of the object, which another program stored';

it.each([
  ['no metadata', undefined, 'accepted is missing, rejected is missing'],
  ['other metadata', { owner: 'someone' }, 'accepted is missing, rejected is missing'],
  ['an empty number', { ...ours, accepted: '' }, 'accepted is ""'],
  ['no whole number', { ...ours, rejected: '1.5' }, 'rejected is "1.5"'],
  ['a negative number', { ...ours, rejected: '-1' }, 'rejected is "-1"'],
  ['a number in another notation', { ...ours, accepted: '0x1' }, 'accepted is "0x1"'],
  ['an unknown packing', { ...ours, 'items-per-message': 'x' }, 'items-per-message is "x"'],
  ['a long text', { ...ours, accepted: 'a'.repeat(2_000) }, `accepted is "${'a'.repeat(40)}"`],
])(
  'an object with %s is not counted, and the reason says what is wrong',
  async (_, metadata, problem) => {
    expect(await reasonFor(metadata)).toBe(`invalid_metadata: ${problem} ${by}`);
    // It can be listed all the same.
    const head = await storeWith(metadata).head(rawKey);
    expect(head).toMatchObject({ encoding: 'identity' });
  },
);

it('accepts an object of an earlier version, and one with an invalid time of replay', async () => {
  const { accepted, rejected } = ours;
  expect(await reasonFor({ accepted, rejected })).toBe(1);
  expect(await reasonFor({ ...ours, 'replayed-at': 'yesterday' })).toBe(1);
});
