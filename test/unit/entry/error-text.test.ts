import { describe, expect, it } from 'vitest';

import { errorText, safeError } from '../../../src/entry/cli/error-text.ts';
import { errorDetails } from '../../../src/entry/lambda/clients.ts';

const secret = 'MARKED-secret';

/** Errors that quote what was sent, as Node and the services of AWS make them. */
const quoting: Record<string, () => unknown> = {
  'JSON.parse': () => JSON.parse(`{"a":${secret}`) as unknown,
  'an argument that is refused': () => Buffer.from({ toString: undefined, secret } as never),
  'a value that is refused': () => new URL(`http://[${secret}`),
  'a signature that does not match': () => {
    throw new Error(`The signature does not match.\n\nx-amz-security-token:${secret}\nhost: x`);
  },
  'a header': () => {
    throw new TypeError(`Bad header: Bearer ${secret}`);
  },
  'a token': () => {
    throw new Error(`unknown dpl_${secret}`);
  },
  'values that are not errors': () => {
    throw secret; // oxlint-disable-line typescript/only-throw-error -- others' code may
  },
};

function thrownBy(act: () => unknown): unknown {
  try {
    act();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}

describe.each(Object.entries(quoting))('what is logged of %s', (_, act) => {
  it('quotes nothing', () => {
    const error = thrownBy(act);
    for (const logged of [
      safeError(error),
      errorDetails(error),
      errorDetails(new Error('outer', { cause: error })),
    ]) {
      expect(JSON.stringify(logged)).not.toContain(secret);
    }
  });
});

it('what is logged of an error says what and where', () => {
  const { error, stack } = safeError(thrownBy(() => (undefined as never as { a: object }).a));
  expect(error).toBe("TypeError: Cannot read properties of undefined (reading 'a')");
  expect(stack).toMatch(/^ +at .*error-text\.test\.ts:\d+/);
  expect(errorDetails(new Error('a', { cause: new Error('b') }))).toMatchObject({
    error: 'Error: a',
    cause: 'Error: b',
  });
});

it.each([
  [
    'a thread that cannot start',
    Object.assign(new Error('no'), { code: 'ERR_WORKER_INIT_FAILED' }),
  ],
  ['a database that cannot be opened', Object.assign(new Error('no'), { errcode: 14 })],
])('the limit on open files is suggested for %s', (_, error) => {
  expect(errorText(error)).toMatch(/^no\. .*ulimit -n/);
});

it('an error that gives advice itself gets no other', () => {
  const cause = Object.assign(new Error('unable to open'), { errcode: 14 });
  expect(errorText(new Error('It cannot be opened. Raise the limit.', { cause }))).toBe(
    'It cannot be opened. Raise the limit.',
  );
});
