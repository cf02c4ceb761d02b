import { expect, it, vi } from 'vitest';

import { openProgress, StoreProgress } from '../../../src/entry/cli/progress.ts';
import { withoutProgress } from '../../support/processes/without-progress.ts';

/** What `show` writes to stderr, of which each call to `pass` comes five seconds after the one before. */
function writtenBy(show: (pass: () => void) => void): string {
  let now = 0;
  let written = '';
  vi.spyOn(performance, 'now').mockImplementation(() => now);
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    written += String(text);
    return true;
  });
  show(() => void (now += 5_000));
  vi.restoreAllMocks();
  return written;
}

it('a line every five seconds shows how far a command is, if no terminal shows a bar', () => {
  const written = writtenBy((pass) => {
    const progress = openProgress(3_000);
    progress.update(1, '1 items accepted');
    pass();
    progress.update(1_000, '1,000 items accepted');
    progress.update(2_000, '2,000 items accepted');
    pass();
    progress.update(2_999, '2,999 items accepted');
  });
  expect(written).toBe('33%  1,000 items accepted\n99%  2,999 items accepted\n');
});

it('what tests compare has none of these lines', () => {
  const written = writtenBy((pass) => {
    const ofUnknownLength = openProgress(undefined);
    for (const note of [
      ...['1,000 items accepted', '12 batches, 3,400 bytes', '7 batches sent, 2 already there'],
    ]) {
      pass();
      ofUnknownLength.update(1, note);
    }
    for (const verb of [undefined, 'copied']) {
      const progress = new StoreProgress(verb);
      progress.update(0, 100, 'bodies');
      pass();
      progress.update(50, 100, 'bodies');
      pass();
      progress.update(99, 0, 'bytes');
    }
  });
  expect(written.split('\n')).toHaveLength(8);
  expect(withoutProgress(`said\n${written}said\n`)).toBe('said\nsaid\n');
});
