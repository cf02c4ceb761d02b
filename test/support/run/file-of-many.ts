import { afterAll, vi } from 'vitest';

import { useBundledThreads } from './bundled-threads.ts';

/*
 * Runs before each test file in a process that runs many. Our modules are loaded again for each
 * file, with their state and the hooks that they register; packages are not. The environment is
 * restored after it.
 */
vi.resetModules();

useBundledThreads();

const before = { ...process.env };

afterAll(() => {
  for (const name of Object.keys(process.env)) {
    if (!(name in before)) Reflect.deleteProperty(process.env, name);
  }
  Object.assign(process.env, before);
});
