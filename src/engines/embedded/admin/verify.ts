import { countOfDifferences } from '../../../pipeline/audit.ts';
import type { StoreAdmin } from '../../../pipeline/store-admin.ts';
import { withThousands } from '../../../util/thousands.ts';
import { auditDataDirectory } from '../verify/audit.ts';
import { dropReplacedTables, rebuildDataDirectory } from '../verify/rebuild.ts';

/** Audit and rebuild of a data directory; see `verify/`. */
export function embeddedVerification(
  dataDir: string,
): Pick<StoreAdmin, 'audit' | 'rebuild' | 'dropReplaced'> {
  return {
    async audit({ dates, received, threads }, { onDifference, onProgress }) {
      const { batches, items, bytes, deadLetters, counters } = await auditDataDirectory({
        ...{ dataDir, dates, received, threads, onDifference },
        onProgress: (done, total) => onProgress(done, total, 'bytes'),
      });
      const note = `${withThousands(deadLetters)} dead letters are not counted`;
      return {
        ...{ items, batches, counters, unsettled: 0 },
        notes: deadLetters > 0 ? [note] : [],
        members: { batches, items, bytes, dead_letters: deadLetters, counters },
      };
    },

    rebuild({ dryRun, withoutDamaged }, { onDifference, onProgress }) {
      const { differences, isSwitched, damagedSpans } = rebuildDataDirectory({
        ...{ dataDir, dryRun, withoutDamaged, onDifference, now: Date.now },
        onProgress: (done, total) => onProgress(done, total, 'bytes'),
      });
      const note = `damaged spans of the log recorded as dead letters: ${damagedSpans}`;
      return {
        isSwitched,
        notes: damagedSpans > 0 ? [note] : [],
        result: `counters rebuilt: ${countOfDifferences(differences)} to the old ones, which are kept until rebuild --drop-old`,
        members: { without_damaged: damagedSpans },
      };
    },

    dropReplaced: () => ({ wereKept: dropReplacedTables(dataDir) }),
  };
}
