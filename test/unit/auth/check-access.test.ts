import { createHash } from 'node:crypto';

import { describe, expect, it } from 'vitest';

import { cachedTokens, readTokens } from '../../../src/entry/lambda/tokens-secret.ts';
import type { Scope, Token } from '../../../src/auth/token.ts';
import {
  serverAccess,
  tokenAccess,
  TokenTable,
  type AccessDecision,
} from '../../../src/auth/check-access.ts';
import { refusalAnswer } from '../../../src/http/app/answer.ts';
import { RateLimiter } from '../../../src/auth/rate-limiter.ts';

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
const unchanging = (known: readonly Token[]) => ({
  known: () => Promise.resolve(known),
  refreshed: () => Promise.resolve(known),
});
const access = tokenAccess(unchanging(tokens), () => now);

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

  it('is refused if there are no tokens', async () => {
    const none = tokenAccess(unchanging([]));
    expect(await none.admit('Bearer x', ['read'])).toMatchObject({
      problem: { code: 'unauthorized' },
    });
  });
});

/** The response to a refused request. */
function challengeOf(admission: AccessDecision): string | undefined {
  if (admission.problem === undefined) throw new Error('admitted');
  return refusalAnswer(admission).headers['www-authenticate'];
}

describe('a refusal', () => {
  const realm = 'Bearer realm="device-pipeline"';

  it.each([
    [undefined, realm],
    ['Basic YTpi', realm],
    ['Bearer unknown', `${realm}, error="invalid_token"`],
    ['Bearer secret-of-old', `${realm}, error="invalid_token"`],
    [`Bearer ${'a'.repeat(10_000)}`, `${realm}, error="invalid_token"`],
    ['Bearer secret-of-reader', `${realm}, error="insufficient_scope", scope="ingest"`],
  ])('of %s says what would be needed', async (header, challenge) => {
    expect(challengeOf(await access.admit(header, ['ingest']))).toBe(challenge);
  });
});

describe('the server', () => {
  const serverOf = (known: readonly Token[] | undefined, isOpenWithoutTokens: boolean) => {
    const table = new TokenTable(known);
    return serverAccess({ tokens: () => table, isOpenWithoutTokens, now: () => now });
  };
  const codeOf = ({ problem }: AccessDecision) => problem?.code;

  it('is open until the first token is created', () => {
    expect(serverOf(undefined, true).admit(undefined, ['read'])).toMatchObject({ caller: '' });
    expect(serverOf(undefined, true).admit('Bearer x', ['read'])).toMatchObject({ caller: '' });
    expect(codeOf(serverOf(tokens, true).admit(undefined, ['read']))).toBe('unauthorized');
  });

  it('is closed by a token that has expired, too', () => {
    const expired = serverOf([token('old', ['read'], now)], true);
    expect(codeOf(expired.admit(undefined, ['read']))).toBe('unauthorized');
    expect(codeOf(expired.admit('Bearer secret-of-old', ['read']))).toBe('unauthorized');
  });

  it('refuses all requests once the last token is revoked', () => {
    expect(codeOf(serverOf([], true).admit(undefined, ['read']))).toBe('unauthorized');
  });

  it('that listens on other addresses than loopback refuses all requests without tokens', () => {
    expect(codeOf(serverOf(undefined, false).admit(undefined, ['read']))).toBe('unauthorized');
  });

  it('goes by the tokens of now', () => {
    let table = new TokenTable([token('a', ['read'])]);
    const server = serverAccess({ tokens: () => table, isOpenWithoutTokens: true });
    expect(server.admit('Bearer secret-of-a', ['read'])).toMatchObject({ caller: 'a' });
    table = new TokenTable([token('b', ['read'])]);
    expect(codeOf(server.admit('Bearer secret-of-a', ['read']))).toBe('unauthorized');
    expect(server.admit('Bearer secret-of-b', ['read'])).toMatchObject({ caller: 'b' });
  });

  it('admits each name as often as it may, and those it refuses cost no one anything', () => {
    let clock = 0;
    const table = new TokenTable([
      token('slow', ['ingest']),
      { ...token('fast', ['ingest']), rate: { perSecond: 10, burst: 5 } },
    ]);
    const server = serverAccess({
      tokens: () => table,
      isOpenWithoutTokens: true,
      rate: { perSecond: 1, burst: 2 },
      limiter: new RateLimiter(() => clock),
    });
    const times = (name: string) => {
      let admitted = 0;
      while (codeOf(server.admit(`Bearer secret-of-${name}`, ['ingest'])) === undefined) admitted++;
      return admitted;
    };
    for (let i = 0; i < 10; i++) server.admit('Bearer secret-of-slow', ['read']);
    expect([times('slow'), times('fast')]).toEqual([2, 5]);
    const refused = server.admit('Bearer secret-of-slow', ['ingest']);
    expect(refused.problem).toMatchObject({ code: 'too_many_requests', retryAfterSeconds: 1 });
    expect(challengeOf(refused)).toBeUndefined();
    clock = 999;
    expect([times('slow'), times('fast')]).toEqual([0, 5]);
    clock = 1_000;
    expect([times('slow'), times('fast')]).toEqual([1, 0]);
    const admitted = server.admit('Bearer secret-of-slow', ['ingest']);
    expect(codeOf(admitted)).toBe('too_many_requests');
    server.refund({ caller: 'slow', rate: { perSecond: 1, burst: 2 } });
    expect(times('slow')).toBe(1);
  });

  it('counts all together whom it lets in without a token', () => {
    const table = new TokenTable(undefined);
    const rate = { perSecond: 1, burst: 1 };
    const server = serverAccess({ tokens: () => table, isOpenWithoutTokens: true, rate });
    expect(codeOf(server.admit(undefined, ['read']))).toBeUndefined();
    expect(codeOf(server.admit('Bearer x', ['read']))).toBe('too_many_requests');
  });
});

describe('the rate limiter', () => {
  it('gives the whole seconds after which a retry succeeds', () => {
    let clock = 5;
    const limiter = new RateLimiter(() => clock);
    const rate = { perSecond: 0.3, burst: 1 };
    expect(limiter.take('a', rate)).toBe(0);
    const seconds = limiter.take('a', rate);
    expect(seconds).toBe(4);
    clock += (seconds - 1) * 1000;
    expect(limiter.take('a', rate)).toBe(1);
    clock += 1000;
    expect(limiter.take('a', rate)).toBe(0);
  });

  it('admits no more than the burst and the rate in any time, whatever the pace', () => {
    let clock = 0;
    const limiter = new RateLimiter(() => clock);
    const rate = { perSecond: 7, burst: 4 };
    let admitted = 0;
    for (let i = 0; i < 50_000; i++) {
      if (limiter.take('a', rate) === 0) admitted++;
      clock += (i * 7919) % 13;
    }
    const allowed = rate.burst + (clock / 1000) * rate.perSecond;
    expect(admitted).toBeLessThanOrEqual(allowed);
    expect(admitted).toBeGreaterThan(allowed - 2);
  });

  it('keeps a bounded number of callers, and first forgets the ones with full buckets', () => {
    let clock = 0;
    const limiter = new RateLimiter(() => clock);
    const rate = { perSecond: 1, burst: 1 };
    limiter.take('early', rate);
    clock = 1_000;
    limiter.take('busy', rate);
    for (let i = 0; i < 4_095; i++) limiter.take(`caller ${i}`, rate);
    expect(limiter.callers).toBeLessThanOrEqual(4_096);
    expect(limiter.take('busy', rate)).toBe(1);
    for (let i = 0; i < 10_000; i++) limiter.take(`other ${i}`, rate);
    expect(limiter.callers).toBeLessThanOrEqual(4_096);
  });
});

describe('tokens that take time to read', () => {
  const added = token('added', ['ingest']);

  /** A secret that is read through `access`, with the number of reads so far. */
  function secretOf(initial: readonly Token[]) {
    const state = { tokens: initial, reads: 0, isDown: false, clock: now, failures: 0 };
    const source = cachedTokens({
      read() {
        state.reads++;
        if (state.isDown) return Promise.reject(new Error('down'));
        return Promise.resolve([...state.tokens]);
      },
      onFailure: () => state.failures++,
      now: () => state.clock,
    });
    const reading = tokenAccess(source, () => state.clock);
    const ask = async (header: string | undefined) =>
      (await reading.admit(header, ['ingest'])).problem?.code ?? 'admitted';
    return { state, ask };
  }
  const gateway = 'Bearer secret-of-gateway';
  const minuteMs = 60_000;

  it('are read once in five minutes, after which a removed token is refused', async () => {
    const { state, ask } = secretOf(tokens);
    expect(await ask(gateway)).toBe('admitted');
    state.tokens = [];
    state.clock += 5 * minuteMs - 1;
    expect([await ask(gateway), state.reads]).toEqual(['admitted', 1]);
    state.clock += 1;
    expect([await ask(gateway), state.reads]).toEqual(['unauthorized', 3]);
  });

  it('admit a new one at once', async () => {
    const { state, ask } = secretOf(tokens);
    expect(await ask(gateway)).toBe('admitted');
    expect(await ask('Bearer secret-of-added')).toBe('unauthorized');
    state.tokens = [...tokens, added];
    expect(await ask('Bearer secret-of-added')).toBe('admitted');
  });

  it('admit one at once that is for more than before', async () => {
    const { state, ask } = secretOf([token('reader', ['read'])]);
    expect(await ask('Bearer secret-of-reader')).toBe('forbidden');
    state.tokens = [token('reader', ['read', 'ingest'])];
    expect(await ask('Bearer secret-of-reader')).toBe('admitted');
  });

  it('are not read for requests without one, and for refused ones once a minute at the most', async () => {
    const { state, ask } = secretOf(tokens);
    for (let i = 0; i < 20; i++) expect(await ask(undefined)).toBe('unauthorized');
    expect(state.reads).toBe(1);
    for (let i = 0; i < 20; i++) expect(await ask('Bearer x')).toBe('unauthorized');
    expect(state.reads).toBe(6);
    state.clock += minuteMs;
    for (let i = 0; i < 20; i++) expect(await ask('Bearer x')).toBe('unauthorized');
    expect(state.reads).toBe(7);
  });

  it('stay in force where they cannot be read again, which is tried after a minute', async () => {
    const { state, ask } = secretOf(tokens);
    expect(await ask(gateway)).toBe('admitted');
    state.isDown = true;
    state.clock += 5 * minuteMs;
    expect([await ask(gateway), state.failures]).toEqual(['admitted', 1]);
    state.clock += minuteMs - 1;
    expect([await ask(gateway), state.reads]).toEqual(['admitted', 2]);
    state.clock += 1;
    expect([await ask(gateway), state.reads]).toEqual(['admitted', 3]);
  });
});

it('tokens that cannot be read for a refused one are read again when they are due', async () => {
  const reads: number[] = [];
  let clock = 0;
  const source = cachedTokens({
    read() {
      reads.push(clock);
      return reads.length === 2 ? Promise.reject(new Error('down')) : Promise.resolve(tokens);
    },
    onFailure: () => undefined,
    now: () => clock,
  });
  await source.known();
  clock = 290_000;
  await source.refreshed();
  clock = 300_000;
  await source.known();
  expect(reads).toEqual([0, 290_000, 300_000]);
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
        for: ['ingest', 'read', 'replay'],
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
    [`{"tokens":[{"name":"","sha256":"${sha256}","for":["read"]}]}`, 'token 0'],
    [`{"tokens":[{"name":"a\\n","sha256":"${sha256}","for":["read"]}]}`, 'token 0'],
    [`{"tokens":[{"name":"a","sha256":"${sha256}","for":["read"],"rate":0,"burst":1}]}`, 'token 0'],
    [`{"tokens":[{"name":"a","sha256":"${sha256}","for":["read"],"burst":1}]}`, 'token 0'],
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
