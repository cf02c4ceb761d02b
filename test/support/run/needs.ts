import { describe, inject, it } from 'vitest';

import type { RequirementName } from './requirements.ts';

/**
 * `describe` and `it` for tests that need something outside the npm dependencies. If it is missing,
 * they register their tests without running them, and the run's last line says so.
 */
export function needs(...names: readonly RequirementName[]) {
  const missing = inject('missing');
  const isMet = !names.some((name) => missing.includes(name));
  return { isMet, describe: describe.runIf(isMet), it: it.runIf(isMet) };
}
