import { BaseSequencer, type TestSpecification } from 'vitest/node';

/**
 * Starts with the files that start real processes. They take the longest. In a fresh clone vitest
 * knows no durations and starts with the largest files: short files with long tests would run alone
 * at the end, with an idle core.
 */
export class EndToEndFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const isEndToEnd = ({ moduleId }: TestSpecification) => moduleId.includes('/test/e2e/');
    return [...sorted.filter(isEndToEnd), ...sorted.filter((file) => !isEndToEnd(file))];
  }
}
