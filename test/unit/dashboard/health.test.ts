import { describe, expect, it } from 'vitest';

import { agoText } from '../../../src/dashboard/data/format.ts';
import { readHealth } from '../../../src/dashboard/data/health.ts';

describe('the health', () => {
  it('may lack members', () => {
    expect(readHealth({ status: 'ready' })).toEqual({ kind: 'ready', reasons: [] });
    expect(
      readHealth({
        pending_messages: 3,
        dead_letters: 1,
        dead_letter_reasons: [{ reason: 'too old', count: 1 }, 'odd'],
        version: '1.2.3',
        last_received_at: '1970-01-01T00:00:01Z',
      }),
    ).toEqual({
      kind: 'ready',
      pending: { amount: 3, unit: 'messages' },
      deadLetters: 1,
      reasons: [{ reason: 'too old', count: 1 }],
      version: '1.2.3',
      lastReceivedAt: 1000,
    });
  });

  it('has the lag of the archive, and whether it can be reached', () => {
    const archive = { mode: 'async', lag_bytes: 3, lag_seconds: 2.5 };
    expect(readHealth({ archive })).toMatchObject({
      archive: { lagSeconds: 2.5, lagBytes: 3 },
    });
    expect(readHealth({ archive: { ...archive, problem: 'It is away.' } })).toMatchObject({
      archive: { lagSeconds: 2.5, problem: 'It is away.' },
    });
  });

  it('tells how long ago', () => {
    const told = [0, 59, 61, 7200, 90_000, 200_000].map((ago) => agoText(0, ago * 1000));
    expect(told).toEqual([
      ...['0 s ago', '59 s ago', '1 min ago', '2 h ago', 'a day ago', '2 days ago'],
    ]);
  });
});
