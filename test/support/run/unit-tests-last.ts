import { BaseSequencer, type TestSpecification } from 'vitest/node';

const kinds = ['e2e', 'model', 'contract', 'infra', 'fuzz', 'soak', 'unit'];

/**
 * Starts with the files that start real processes or run models, and ends with the unit tests, which take
 * the least. In a fresh clone vitest has no durations and starts with the largest files: short files with
 * long tests would run alone at the end, with an idle core.
 */
export class UnitTestsLast extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const sorted = await super.sort(files);
    const rank = ({ moduleId }: TestSpecification) =>
      kinds.findIndex((kind) => moduleId.includes(`/test/${kind}/`));
    return sorted.toSorted((one, other) => rank(one) - rank(other));
  }
}
