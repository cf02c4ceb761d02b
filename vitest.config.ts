import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Servers are started, killed and waited for: a slow shared machine is not a failure.
    testTimeout: 30_000,
    hookTimeout: 60_000,
    pool: 'forks',
  },
});
