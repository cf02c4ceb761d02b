import { compareWithArchive } from '../../engines/embedded/archive/manage/compare-archive.ts';
import { countOfDifferences } from '../../pipeline/findings.ts';
import { withThousands } from '../../util/thousands.ts';
import { StoreProgress } from '../cli/progress.ts';
import type { DifferenceList } from '../verify/differences-text.ts';

interface ShownComparison {
  /** The number of findings. */
  readonly count: number;
  readonly members: object;
  readonly notes: readonly string[];
}

/** Compares a data directory with its archive; adds the findings to `differences`. */
export async function compareArchive(
  url: string,
  dataDir: string,
  differences: DifferenceList,
): Promise<ShownComparison> {
  const progress = new StoreProgress();
  try {
    const { findings, begin, end, comparedBytes, behindBytes } = await compareWithArchive(
      url,
      dataDir,
      (done, total) => progress.update(done, total, 'bytes'),
    );
    for (const finding of findings) differences.add(finding);
    const compared = `archive: ${withThousands(comparedBytes)} bytes of the log compared`;
    const behind = `the archive is ${withThousands(behindBytes)} bytes behind, which a running server ships`;
    const outcome = findings.length === 0 ? 'all equal' : countOfDifferences(findings.length);
    const archive = {
      ...{ url, from: begin, to: end, compared_bytes: comparedBytes },
      ...{ behind_bytes: behindBytes, difference_count: findings.length },
    };
    return {
      ...{ count: findings.length, members: { archive } },
      notes: [...(behindBytes > 0 ? [behind] : []), `${compared}, ${outcome}`],
    };
  } finally {
    progress.stop();
  }
}
