import { describe, expect, it } from 'vitest';

import { bodyTooLarge, readIngestHeaders } from '../../../src/http/app/ingest-headers.ts';

const json = { 'content-type': 'application/json' };

const read = (headers: Record<string, string>) => readIngestHeaders((name) => headers[name]);

function headersOf(more: Record<string, string>) {
  const { headers, refusal } = read({ ...json, ...more });
  return headers ?? expect.fail(refusal.body);
}

function codeOf(headers: Record<string, string>): string | undefined {
  const { refusal } = read(headers);
  return refusal && (JSON.parse(refusal.body) as { code: string }).code;
}

describe('the headers of a batch', () => {
  it('need be no more than its content type', () => {
    expect(headersOf({})).toEqual({
      encoding: 'identity',
      strict: false,
      idempotencyKey: undefined,
    });
  });
});

describe('the content type', () => {
  it.each([
    'application/json',
    'Application/JSON',
    ' application/json ',
    'application/json;charset=utf-8',
    'application/json; charset=UTF-8',
    'application/json; charset="utf-8"',
    'application/json ; Charset = utf8',
    'application/json; profile=x',
    'application/json;',
  ])('may be %j', (contentType) => {
    expect(codeOf({ 'content-type': contentType })).toBeUndefined();
  });

  it.each([
    undefined,
    '',
    'text/plain',
    'text/json',
    'application/jsonx',
    'application/x-ndjson',
    'application/problem+json',
    'application/json, application/json',
    'application/json; charset=latin1',
    'application/json; charset=utf-16',
    'application/json; charset',
    'application/json; profile=x; charset=iso-8859-1',
  ])('%j is refused, with what would do', (contentType) => {
    const { refusal } = read(contentType === undefined ? {} : { 'content-type': contentType });
    expect(refusal).toMatchObject({
      status: 415,
      headers: { 'content-type': 'application/problem+json', accept: 'application/json' },
    });
    expect(JSON.parse(refusal?.body ?? '')).toMatchObject({ code: 'unsupported_media_type' });
  });
});

describe('the content encoding', () => {
  it.each([
    ['identity', 'identity'],
    ['gzip', 'gzip'],
    ['GZIP', 'gzip'],
    [' gzip ', 'gzip'],
    ['x-gzip', 'gzip'],
    ['', 'identity'],
  ])('%j is %s', (value, encoding) => {
    expect(headersOf({ 'content-encoding': value }).encoding).toBe(encoding);
  });

  it.each(['deflate', 'br', 'zstd', 'compress', 'gzip, gzip', 'identity, gzip', 'constructor'])(
    '%s is refused, with what would do',
    (value) => {
      const { refusal } = read({ ...json, 'content-encoding': value });
      expect(refusal).toMatchObject({ status: 415, headers: { 'accept-encoding': 'gzip' } });
    },
  );
});

describe('the idempotency key', () => {
  const visible = Array.from({ length: 94 }, (_, index) => String.fromCharCode(0x21 + index));

  it.each(['a', visible.join(''), 'x'.repeat(255), '8e03978e-40d5-43e8-bc93-6894a57f9324'])(
    'may be %s',
    (key) => {
      expect(headersOf({ 'idempotency-key': key }).idempotencyKey).toBe(key);
    },
  );

  it.each(['', ' ', 'a b', 'x'.repeat(256), 'a, b', 'a\tb', 'é', 'a\u007f', 'a\n'])(
    '%j is refused',
    (key) => {
      expect(codeOf({ ...json, 'idempotency-key': key })).toBe('invalid_idempotency_key');
      expect(read({ ...json, 'idempotency-key': key }).refusal?.status).toBe(400);
    },
  );
});

describe('the handling', () => {
  it.each([
    'handling=strict',
    'Handling=Strict',
    'handling="strict"',
    ' handling = strict ',
    'respond-async, handling=strict',
    'handling=strict; foo=bar',
    'handling=strict, wait=10',
    'handling=strict, handling=lenient',
  ])('is strict: %s', (prefer) => {
    expect(headersOf({ prefer }).strict).toBe(true);
  });

  it.each([
    '',
    'handling=lenient',
    'handling',
    'handling=',
    'handling=stricter',
    'strict',
    'xhandling=strict',
    'respond-async; handling=strict',
    'handling=lenient, handling=strict',
    'return=minimal',
  ])('is lenient: %j', (prefer) => {
    expect(headersOf({ prefer }).strict).toBe(false);
  });
});

describe('of several faults', () => {
  it('the content type is named first, then the encoding, then the key', () => {
    const faults = { 'content-encoding': 'br', 'idempotency-key': '' };
    const { headers } = read(faults).refusal ?? expect.fail('it is not refused');
    expect(headers).toMatchObject({ accept: 'application/json', 'accept-encoding': 'gzip' });
    expect(read({ ...json, ...faults }).refusal?.headers['accept-encoding']).toBe('gzip');
  });
});

describe('a body that is too large', () => {
  it('is refused with the limit', () => {
    const { status, body } = bodyTooLarge(4_194_304);
    expect(status).toBe(413);
    expect(JSON.parse(body)).toMatchObject({
      code: 'body_too_large',
      detail: expect.stringContaining('4194304 bytes') as string,
    });
  });
});
