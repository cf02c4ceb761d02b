import { beforeAll, inject, it } from 'vitest';

/** How much of one kind of work a test file does, in each tier. */
export interface Rounds {
  /** In the plural, as the run's summary prints it: `bodies scanned`. */
  readonly what: string;
  /** In `npm test`. */
  readonly quick: number;
  /** In `npm run test:nightly`. */
  readonly nightly: number;
}

/**
 * The number of rounds in this tier, which the run's summary reports. Call it at the top of a file.
 */
export function rounds({ what, quick, nightly }: Rounds): number {
  const count = isNightly() ? nightly : quick;
  // vitest reads the source of the first parameter, which must be a pattern.
  // oxlint-disable-next-line no-empty-pattern
  beforeAll(({}, { meta }) => {
    meta.rounds = { ...meta.rounds, [what]: count };
  });
  return count;
}

export function isNightly(): boolean {
  return inject('tier') === 'nightly';
}

/** `it` for a test of a kind that `npm test` has another one of: only the nightly tier has it. */
export const itAtNight: (name: string, test: () => void | Promise<void>) => void = isNightly()
  ? it
  : () => undefined;
