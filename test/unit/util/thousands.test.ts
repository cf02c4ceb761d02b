import { expect, it } from 'vitest';

import { amountOf, withThousands } from '../../../src/util/thousands.ts';

it.each([
  [0, '0'],
  [999, '999'],
  [1_000, '1,000'],
  [-1_000, '-1,000'],
  [-999, '-999'],
  [100_000, '100,000'],
  [1_234_567, '1,234,567'],
  [0.5, '0.5'],
  [1_234.123_4, '1,234.1234'],
  [Number.MAX_SAFE_INTEGER, '9,007,199,254,740,991'],
])('%d is written %s', (number, text) => {
  expect(withThousands(number)).toBe(text);
});

it.each([
  [0, 'bad line', '0 bad lines'],
  [1, 'batch', '1 batch'],
  [2, 'batch', '2 batches'],
  [1_000, 'raw body', '1,000 raw bodies'],
  [2, 'retry', '2 retries'],
  [3, 'key', '3 keys'],
])('%d of a %s are written %s', (number, noun, text) => {
  expect(amountOf(number, noun)).toBe(text);
});
