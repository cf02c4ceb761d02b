import {
  verifyArchive,
  type VerifyReport,
} from '../../engines/embedded/archive/manage/verify-archive.ts';
import { countOfDifferences } from '../../pipeline/findings.ts';
import { amountOf, withThousands } from '../../util/thousands.ts';
import { StoreProgress } from '../cli/progress.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';
import { DifferenceList } from '../verify/differences-text.ts';
import type { ArchivePlace } from './archive-options.ts';
import { withArchive } from './with-archive.ts';

interface VerifyOptions extends ArchivePlace {
  readonly count?: true;
  readonly json?: true;
}

interface VerifiedLog {
  readonly logId: string;
  readonly report: VerifyReport;
  readonly differences: DifferenceList;
}

/** Checks everything in an archive. Returns the exit code: 1 if something is missing or damaged. */
export function archiveVerify({ count, json, ...place }: VerifyOptions): Promise<number> {
  const isCounting = count === true;
  return withArchive(place, async (store, logIds) => {
    const logs: VerifiedLog[] = [];
    const progress = new StoreProgress();
    try {
      for (const logId of logIds) {
        const onProgress = (done: number, total: number) => progress.update(done, total, 'bytes');
        const report = await verifyArchive({ store, logId, isCounting, onProgress });
        const differences = new DifferenceList();
        for (const finding of report.findings) differences.add(finding);
        logs.push({ logId, report, differences });
      }
    } finally {
      progress.stop();
    }
    const text = json
      ? jsonText({ archive: store.url, logs: logs.map((log) => documentOf(log, isCounting)) })
      : logs.flatMap((log) => linesOf(log, isCounting)).join('\n');
    process.stdout.write(`${text}\n`);
    return logs.some(({ differences }) => differences.count > 0) ? 1 : 0;
  });
}

function documentOf({ logId, report, differences }: VerifiedLog, isCounting: boolean): object {
  const { begin, end, objects, storedBytes, batches, items, deadLetters } = report;
  return {
    ...{ log_id: logId, sound: differences.count === 0, from: begin, to: end },
    ...{ objects, stored_bytes: storedBytes, batches, items },
    ...(isCounting && { dead_letters: deadLetters }),
    ...{ difference_count: differences.count, differences: differences.json() },
  };
}

function linesOf({ logId, report, differences }: VerifiedLog, isCounting: boolean): string[] {
  const { begin, end, objects, storedBytes, batches, items, deadLetters } = report;
  const mib = withThousands(Math.ceil(storedBytes / 1024 ** 2));
  const held = `byte ${withThousands(begin)} to ${withThousands(end)} of log ${visible(logId)}`;
  const done = isCounting ? 'recounted' : 'checked';
  return [
    ...differences.lines(),
    `${amountOf(objects, 'object')} of ${mib} MiB read, ${held}`,
    `${amountOf(items, 'item')} of ${amountOf(batches, 'batch')} ${done}`,
    ...(deadLetters > 0 ? [`${amountOf(deadLetters, 'batch')} cannot be counted`] : []),
    differences.count === 0
      ? 'nothing is missing or damaged'
      : `${countOfDifferences(differences.count)}: a restore would fail. Keep the data directory, and archive it to another prefix; if it is lost, restore --up-to-damage, or copy what can be read with replay --from`,
  ];
}
