import { describe, expect, test } from 'vitest';

import { tokenCharactersMax } from '../../../src/client/checks.ts';
import { createClient, flushOnExit, type ClientOptions } from '../../../src/client/index.ts';
import { tokenCharactersMax as serverTokenCharactersMax } from '../../../src/auth/token.ts';
import { badAddresses } from '../../support/bad-addresses.ts';
import { clientOf, event, serverThat } from '../../support/processes/scripted-server.ts';

const url = 'http://127.0.0.1:8080';

describe('a client is not made', () => {
  test.each([...badAddresses, undefined as unknown as string])('for the address %s', (wrong) => {
    expect(() => createClient({ url: wrong })).toThrow(TypeError);
    expect(() => createClient({ url: wrong })).toThrow('url must be an address such as http://');
  });

  test('and a secret of the address is not shown', () => {
    expect(() => createClient({ url: 'http://u:secret@a' })).toThrow(/^(?!.*secret)/s);
    expect(() => createClient({ url: 'ftp://a' })).toThrow("got 'ftp://a'");
  });

  test.each(['', 'two words', 'a\nb', 'tök', 'x'.repeat(513), null as unknown as string])(
    'for the token %j, which is not shown',
    (token) => {
      const form = '1 to 512 characters of visible ASCII, without spaces';
      const message = `token must be ${form}; omit it if the server requires no token`;
      expect(() => createClient({ url, token })).toThrow(new TypeError(message));
    },
  );

  test.each<[Partial<ClientOptions>, string]>([
    [{ retry: { attemptsMax: 0 } }, 'retry.attemptsMax must be a number of at least 1, got 0'],
    [{ retry: { attemptsMax: NaN } }, 'retry.attemptsMax'],
    [{ retry: { attemptMsMax: NaN } }, 'retry.attemptMsMax must be a number of at least 0'],
    [{ retry: { totalMsMax: -1 } }, 'retry.totalMsMax'],
    [{ retry: { firstContactMsMax: NaN } }, 'retry.firstContactMsMax'],
    [{ retry: { backoffMsMin: '5' as unknown as number } }, 'retry.backoffMsMin'],
    [{ retry: { backoffMsMax: -5 } }, 'retry.backoffMsMax'],
    [{ batchItemsMax: 0 }, 'batchItemsMax'],
    [{ batchBytesMax: NaN }, 'batchBytesMax'],
    [{ batchMsMax: NaN }, 'batchMsMax'],
    [{ bufferBytesMax: -1 }, 'bufferBytesMax'],
    [{ concurrency: 0 }, 'concurrency'],
    [{ gzipBytesMin: NaN }, 'gzipBytesMin'],
  ])('for %o', (options, message) => {
    expect(() => createClient({ url, ...options })).toThrow(RangeError);
    expect(() => createClient({ url, ...options })).toThrow(message);
  });
});

test('the longest token of a client is that of the server', () => {
  expect(tokenCharactersMax).toBe(serverTokenCharactersMax);
  createClient({ url, token: 'x'.repeat(tokenCharactersMax) });
});

test('what is undefined is as if it were left out', async () => {
  const server = await serverThat(
    (response) => response.destroy(),
    (response) => response.destroy(),
  );
  const retry = {
    backoffMsMin: 1,
    backoffMsMax: 1,
    totalMsMax: undefined,
    attemptMsMax: undefined,
  };
  const client = clientOf(server.url, { token: undefined, gzipBytesMin: undefined, retry });
  await client.send(event(1));
  expect(await client.close()).toEqual({ accepted: 1, refused: 0, givenUp: 0 });
});

test('times in parts of a millisecond are times', async () => {
  const server = await serverThat();
  const client = clientOf(server.url, { retry: { attemptMsMax: 5000.5, attemptsMax: 1 } });
  await client.send(event(1));
  expect(await client.close()).toEqual({ accepted: 1, refused: 0, givenUp: 0 });
});

test('a time that is none closes nothing', async () => {
  const server = await serverThat();
  const client = clientOf(server.url);
  await expect(client.close(NaN)).rejects.toThrow('timeoutMs must be a number of at least 0');
  expect(() => flushOnExit(client, { timeoutMs: -1 })).toThrow(RangeError);
  await client.send(event(1));
  expect(await client.close()).toEqual({ accepted: 1, refused: 0, givenUp: 0 });
});
