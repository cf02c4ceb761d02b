import { describe, expect, it } from 'vitest';

import { jsonText, visible } from '../../../src/entry/cli/terminal-text.ts';

const acting = {
  'an escape sequence': '\u001b[2J\u001b]0;title\u0007',
  'an escape sequence of C1': '\u009b31m\u0090x\u009c',
  'line ends': 'a\r\nb\u0085c\u2028d\u2029e',
  'a backspace': 'safe\b\b\b\bevil',
  'overrides of direction': '\u202eevil\u202c\u2066x\u2069\u200f\u061c',
  'what has no width': 'a\u200b\u200d\u2060\ufeffb\u00ad',
  tags: 'a\u{e0001}\u{e0041}',
  'lone surrogates': '\ud800 \udc00',
};
/** What moves a cursor, hides or turns text. */
const active = /[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/u;

describe.each(Object.entries(acting))('%s', (_, text) => {
  it('is shown and does not act', () => {
    expect(visible(text)).not.toMatch(active);
    expect(visible(text)).toContain('\\u{');
  });

  it('is shown in JSON that reads back the same', () => {
    const json = jsonText({ name: text });
    expect(json).not.toMatch(active);
    expect(JSON.parse(json)).toEqual({ name: text });
  });
});

it('other text is left as it is', () => {
  for (const text of ['laptop', 'é 日本 \u{1f600}', 'a\u0300', 'עברית']) {
    expect(visible(text)).toBe(text);
  }
});
