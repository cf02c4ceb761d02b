import type { Reporter, TestModule, Vitest } from 'vitest/node';

import { requirements, type RequirementName } from './requirements.ts';

/**
 * Ends a run with what its tests of many rounds did, and one plain line that counts the tests:
 * `2402 passed, 0 failed, 141 not run (Java: apt-get install …)`.
 */
export class SummaryReporter implements Reporter {
  #missing: () => readonly RequirementName[] = () => [];

  onInit(vitest: Vitest): void {
    const project = vitest.getRootProject();
    this.#missing = () => project.getProvidedContext().missing;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    const counts = { passed: 0, failed: errors.length, skipped: 0 };
    const rounds = new Map<string, number>();
    for (const module of modules) {
      const before = counts.failed;
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        if (state !== 'pending') counts[state]++;
      }
      // A file that does not load, or whose hooks fail, may have no test that fails.
      if (module.state() === 'failed' && counts.failed === before) counts.failed++;
      for (const [what, count] of Object.entries(module.meta().rounds ?? {})) {
        rounds.set(what, (rounds.get(what) ?? 0) + count);
      }
    }
    const done = [...rounds].map(([what, count]) => `${count.toLocaleString('en')} ${what}`);
    const lines = [
      ...(done.length > 0 ? [`rounds: ${done.join(', ')}`] : []),
      `${counts.passed} passed, ${counts.failed} failed${this.#notRun(counts.skipped)}`,
    ];
    // After the default reporter's own summary.
    process.on('exit', () => void process.stdout.write(`${lines.join('\n')}\n`));
  }

  #notRun(skipped: number): string {
    if (skipped === 0) return '';
    const missing = new Set<string>(this.#missing());
    const reasons = requirements
      .filter(({ name }) => missing.has(name))
      .map(({ name, remedy }) => `${name}: ${remedy}`);
    return `, ${skipped} not run${reasons.length > 0 ? ` (${reasons.join('; ')})` : ''}`;
  }
}
