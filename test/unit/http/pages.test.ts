import { describe, expect, it } from 'vitest';

import { pageOf } from '../../../src/http/app/pages.ts';

const bytes = (text: string) => new TextEncoder().encode(text);
const content = {
  contentType: 'text/html; charset=utf-8',
  bodies: { identity: bytes('plain'), gzip: bytes('gzip'), br: bytes('br') },
};
const ask = (headers: Record<string, string> = {}, isForever = false) =>
  pageOf({ ...content, isForever })(new Headers(headers));
const bodyOf = (accepted: string) =>
  Buffer.from(ask({ 'accept-encoding': accepted }).body as Uint8Array).toString();

describe('a page', () => {
  it('comes in the smallest encoding that the client takes', () => {
    expect(bodyOf('gzip, deflate, br, zstd')).toBe('br');
    expect(bodyOf('GZIP')).toBe('gzip');
    expect(bodyOf('br;q=0, gzip;q=0.5')).toBe('gzip');
    expect(bodyOf('br;q=0.000')).toBe('plain');
    expect(bodyOf('identity, brotli')).toBe('plain');
    expect(ask().headers).not.toHaveProperty('content-encoding');
    expect(ask({ 'accept-encoding': 'br' }).headers).toMatchObject({
      'content-encoding': 'br',
      vary: 'Accept-Encoding',
    });
  });

  it('is not sent again to who has it, in that encoding', () => {
    const { etag = '' } = ask({ 'accept-encoding': 'br' }).headers;
    const again = ask({ 'accept-encoding': 'br', 'if-none-match': `"x", W/${etag}` });
    expect([again.status, again.body.length]).toEqual([304, 0]);
    expect(ask({ 'accept-encoding': 'gzip', 'if-none-match': etag }).status).toBe(200);
  });

  it('allows nothing inline, and is revalidated each time unless its name has a hash', () => {
    const { headers } = ask();
    expect(headers['content-security-policy']).not.toContain('unsafe');
    expect(headers['content-security-policy']).toContain("default-src 'none'");
    expect(headers['cache-control']).toBe('no-cache');
    expect(ask({}, true).headers['cache-control']).toContain('immutable');
  });
});
