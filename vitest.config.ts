import { defineConfig } from 'vitest/config';

import { UnitTestsLast } from './test/support/run/unit-tests-last.ts';
import { SummaryReporter } from './test/support/run/summary-reporter.ts';

/** They replace modules, or import some anew under another environment. */
const isolated = [
  'test/contract/lambda-lines.test.ts',
  'test/contract/lambda-traces.test.ts',
  'test/model/log/log-power-cut.test.ts',
];

export default defineConfig({
  test: {
    // Servers are started, killed and waited for: a slow shared machine is not a failure.
    testTimeout: 600_000,
    hookTimeout: 600_000,
    expect: { poll: { timeout: 300_000 } },
    pool: 'forks',
    maxWorkers: 5,
    sequence: { sequencer: UnitTestsLast },
    globalSetup: ['test/support/run/global-setup.ts'],
    reporters: ['default', new SummaryReporter()],
    projects: [
      {
        extends: true,
        test: {
          name: 'shared',
          include: ['test/**/*.test.ts'],
          exclude: isolated,
          // A process for each file would cost a minute in all. Mocks and the environment are put
          // back after each instead.
          isolate: false,
          restoreMocks: true,
          unstubEnvs: true,
          setupFiles: ['test/support/run/file-of-many.ts'],
        },
      },
      { extends: true, test: { name: 'isolated', include: isolated } },
    ],
  },
});
