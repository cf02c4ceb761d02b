import { createHash } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { readTokens } from '../../src/entry/lambda/tokens-secret.ts';
import type { Scope, Token } from '../../src/domain/access-token.ts';
import { tokenAccess } from '../../src/http/access.ts';

const now = Date.UTC(2026, 0);
const token = (name: string, scopes: readonly Scope[], expiresAt?: number): Token => ({
  name,
  sha256: createHash('sha256').update(`secret of ${name}`.replaceAll(' ', '-')).digest('hex'),
  for: scopes,
  expiresAt,
});

const tokens = [
  token('gateway', ['ingest']),
  token('reader', ['read']),
  token('both', ['ingest', 'read'], now + 1),
  token('old', ['ingest', 'read'], now),
];
const access = tokenAccess(
  () => Promise.resolve(tokens),
  () => now,
);

describe('a request', () => {
  it.each([
    ['Bearer secret-of-gateway', ['ingest'], 'gateway'],
    ['bearer   secret-of-gateway ', ['ingest', 'read'], 'gateway'],
    ['Bearer secret-of-reader', ['read'], 'reader'],
    ['Bearer secret-of-both', ['read'], 'both'],
  ] as const)('with %s for %j is let in, by name', async (header, scopes, caller) => {
    expect(await access.admit(header, scopes)).toEqual({ caller });
  });

  it.each([
    [undefined, 'unauthorized'],
    ['', 'unauthorized'],
    ['Bearer', 'unauthorized'],
    ['Bearer secret-of-gateway2', 'unauthorized'],
    ['Bearer secret-of-gatewa', 'unauthorized'],
    ['Bearer SECRET-OF-GATEWAY', 'unauthorized'],
    ['Basic secret-of-gateway', 'unauthorized'],
    ['Bearer secret-of-gateway secret-of-both', 'unauthorized'],
    ['Bearer secret-of-old', 'unauthorized'],
    ['Bearer secret-of-reader', 'forbidden'],
  ])('with %s is not let in to send batches: %s', async (header, code) => {
    expect(await access.admit(header, ['ingest'])).toMatchObject({ problem: { code } });
  });

  it('is let in by nobody where there are no tokens', async () => {
    const none = tokenAccess(() => Promise.resolve([]));
    expect(await none.admit('Bearer x', ['read'])).toMatchObject({
      problem: { code: 'unauthorized' },
    });
  });
});

describe('the secret with the tokens', () => {
  const sha256 = 'a'.repeat(64);

  it('holds hashes, and at first one token in clear for everything', () => {
    const secret = {
      tokens: [
        { name: 'a', sha256, for: ['ingest'] },
        { name: 'b', sha256, for: ['read'], expires: '2026-01-01T00:00:00Z' },
      ],
      initial: 'text',
    };
    expect(readTokens(JSON.stringify(secret))).toEqual([
      { name: 'a', sha256, for: ['ingest'], expiresAt: undefined },
      { name: 'b', sha256, for: ['read'], expiresAt: now },
      {
        name: 'initial',
        sha256: createHash('sha256').update('text').digest('hex'),
        for: ['ingest', 'read'],
        expiresAt: undefined,
      },
    ]);
    expect(readTokens('{}')).toEqual([]);
    expect(readTokens('{"tokens":[],"initial":""}')).toEqual([]);
  });

  it.each([
    ['', 'not JSON'],
    ['{"tokens":{}}', 'not a list'],
    ['{"tokens":[null]}', 'token 0'],
    [`{"tokens":[{"name":"a","sha256":"${'a'.repeat(63)}","for":["read"]}]}`, 'token 0'],
    [`{"tokens":[{"name":"a","sha256":"${'g'.repeat(64)}","for":["read"]}]}`, 'token 0'],
    [`{"tokens":[{"name":"a","sha256":"${sha256}","for":["write"]}]}`, 'token 0'],
    [`{"tokens":[{"name":"a","sha256":"${sha256}","for":["read"],"expires":"soon"}]}`, 'token 0'],
    [`{"tokens":[{"name":"a","sha256":"${sha256}","for":["read"],"expires":7}]}`, 'token 0'],
  ])('of another form is refused: %s', (secret, why) => {
    expect(() => readTokens(secret)).toThrow(why);
    // What is in it is not repeated in the message.
    expect(() => readTokens(secret)).not.toThrow(sha256);
  });
});
