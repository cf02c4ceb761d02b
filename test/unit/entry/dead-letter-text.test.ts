import { gzipSync } from 'node:zlib';

import { describe, expect, it } from 'vitest';

import { deadLetterJson, deadLetterText } from '../../../src/entry/dlq/dead-letter-text.ts';
import type { DeadLetterView } from '../../../src/pipeline/store-admin.ts';
import {
  deadLetterBodyOfBatch,
  readDeadLetterContent,
} from '../../../src/pipeline/chunks/dead-letter-content.ts';

const batchId = '019b770e-7be9-7000-9f05-000000000000';
const rawKey = `raw/2026-01-01T00:00:00.000Z-${batchId}.json`;
const chunk = { version: 1, batch_id: batchId, index: 3, raw_key: rawKey, items: [{}, {}] };

describe('what a dead letter is about', () => {
  it('is recognised by its envelope, even if its items or version are invalid', () => {
    const found = { kind: 'chunk', batchId, rawKey, index: 3, items: 2 };
    expect(readDeadLetterContent(JSON.stringify(chunk))).toEqual(found);
    expect(readDeadLetterContent(JSON.stringify({ ...chunk, version: 9 }))).toEqual(found);
    expect(readDeadLetterContent(deadLetterBodyOfBatch(rawKey))).toEqual({
      kind: 'batch',
      batchId,
      rawKey,
    });
  });

  it.each([
    ['not json', 'text'],
    ['null', 'null'],
    ['{"type":"lamp"}', 'an item'],
    [JSON.stringify({ ...chunk, batch_id: 'x' }), 'a chunk of no batch'],
    [JSON.stringify({ ...chunk, index: -1 }), 'a chunk with no place'],
    [JSON.stringify({ ...chunk, items: 'x' }), 'a chunk of nothing'],
    [JSON.stringify({ raw_key: '../../etc/passwd' }), 'a name of something else'],
    ['['.repeat(100_000), 'brackets'],
  ])('is a foreign message if it is %s', (body) => {
    expect(readDeadLetterContent(body)).toEqual({ kind: 'message' });
  });
});

describe('a dead letter as it is shown', () => {
  const letter: DeadLetterView = {
    ...{ id: `${batchId}:3`, batchId, rawKey, index: 3, items: 2, reason: 'too_old: \u001b[2J' },
    ...{ firstFailedAt: 1_000, lastFailedAt: undefined, droppedAt: undefined },
    ...{ body: Buffer.from('{\u202e"a":\n1}'), encoding: 'identity' },
  };

  it('cannot do anything to a terminal', () => {
    expect(deadLetterText(letter)).toBe(
      `${rawKey}, chunk 3, 2 items\n  too_old: \\u{1b}[2J\n  first failed 1970-01-01T00:00:01.000Z, last at an unknown time\n  {\\u{202e}"a": 1}\n`,
    );
  });

  it('shows the beginning of a long body, and of a compressed one', () => {
    const long = Buffer.from('x'.repeat(10_000));
    const last = (text: string) => text.trimEnd().split('\n').at(-1);
    const shown = `  ${'x'.repeat(160)} …`;
    expect(last(deadLetterText({ ...letter, body: long }))).toBe(shown);
    const body = gzipSync(long);
    expect(last(deadLetterText({ ...letter, body, encoding: 'gzip' }))).toBe(shown);
    expect(last(deadLetterText({ ...letter, encoding: 'gzip' }))).toMatch(
      /bytes that cannot be inflated/,
    );
  });

  it('is whole as JSON', () => {
    const document = JSON.parse(deadLetterJson(letter)) as { body_base64: string };
    expect(document).toMatchObject({ batch_id: batchId, index: 3, items: 2, last_failed_at: null });
    expect(Buffer.from(document.body_base64, 'base64')).toEqual(letter.body);
  });
});
