import type { Difference } from '../../pipeline/findings.ts';
import type { ReadingEvents } from '../../pipeline/store-admin.ts';
import { withThousands } from '../../util/thousands.ts';
import { StoreProgress } from '../cli/progress.ts';
import { visible } from '../cli/terminal-text.ts';

/** At most this many differences are shown; further ones are only counted. */
const shownMax = 1_000;

/** The first differences, and the number of all. */
export class DifferenceList {
  readonly #shown: Difference[] = [];
  #count = 0;

  get count(): number {
    return this.#count;
  }

  add(difference: Difference): void {
    this.#count++;
    if (this.#shown.length < shownMax) this.#shown.push(difference);
  }

  json(): object[] {
    return this.#shown.map(
      ({ code, detail, counter, counted, recounted, rawKeys, explainedBy }) => ({
        code,
        detail,
        ...counter,
        counted,
        recounted,
        raw_keys: rawKeys,
        explained_by: explainedBy,
      }),
    );
  }

  lines(): string[] {
    const lines = this.#shown.flatMap(
      ({ code, detail, counter, rawKeys = [], explainedBy = [] }) => [
        `${code}: ${visible(detail)}`,
        ...(counter === undefined || rawKeys.length === 0 ? [] : [`  in ${rawKeys.join(', ')}`]),
        ...(explainedBy.length === 0
          ? []
          : [`  would be explained by ${explainedBy.join(', or ')}`]),
      ],
    );
    const hidden = this.#count - this.#shown.length;
    return hidden > 0 ? [...lines, `… and ${withThousands(hidden)} more`] : lines;
  }
}

/**
 * Calls `read` with the receivers of the reports of an audit or a rebuild: differences go to the list,
 * the progress and the estimate to stderr.
 */
export async function reportingOn<Report>(
  differences: DifferenceList,
  read: (events: ReadingEvents) => Report | Promise<Report>,
): Promise<Report> {
  const progress = new StoreProgress();
  try {
    return await read({
      onDifference: (difference) => differences.add(difference),
      onProgress: (done, total, unit) => progress.update(done, total, unit),
      onEstimate: (text) => void process.stderr.write(`${text}\n`),
    });
  } finally {
    progress.stop();
  }
}
