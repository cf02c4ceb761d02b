import { defineConfig } from 'vitest/config';

import { EndToEndFirst } from './test/support/end-to-end-first.ts';
import { SummaryReporter } from './test/support/summary-reporter.ts';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    // Servers are started, killed and waited for: a slow shared machine is not a failure.
    testTimeout: 180_000,
    hookTimeout: 180_000,
    expect: { poll: { timeout: 120_000 } },
    pool: 'forks',
    maxWorkers: 5,
    sequence: { sequencer: EndToEndFirst },
    globalSetup: ['test/support/global-setup.ts'],
    reporters: ['default', new SummaryReporter()],
  },
});
