import type {
  DeadLetterSelection,
  DeadLetters,
  DeadLetterView,
} from '../../../pipeline/store-admin.ts';
import {
  dropDeadLetters,
  listDeadLetters,
  redriveDeadLetters,
  type StoredDeadLetter,
} from '../store/dead-letters.ts';
import type { RecordedDeadLetter } from '../store/progress-row.ts';

/** The dead letters in the database. Reading hides none of them, so the limit has no effect. */
export function embeddedDeadLetters(dataDir: string): DeadLetters {
  return {
    async list(_limit, show) {
      await show(listDeadLetters(dataDir).map(viewOf));
      return { isMore: false, hidden: 0 };
    },
    redrive(selection, report) {
      const { counted, failed } = redriveDeadLetters(dataDir, filterBy(selection), Date.now());
      for (const { batchId, reason, isRestored } of failed) {
        report(batchId, isRestored ? reason : `still not counted: ${reason}`);
      }
      const left = failed.map(({ batchId, reason }) => ({ id: batchId, reason }));
      return { how: 'counted', done: counted, left, isMore: false };
    },
    drop(selection) {
      const dropped = dropDeadLetters(dataDir, filterBy(selection), Date.now());
      return { dropped, countedBefore: undefined, isMore: false };
    },
  };
}

function filterBy({ isChosen }: DeadLetterSelection): (deadLetter: RecordedDeadLetter) => boolean {
  return ({ batchId, reason }) => isChosen([batchId], reason);
}

function viewOf(deadLetter: StoredDeadLetter): DeadLetterView {
  const { batchId, rawKey, items, reason, firstFailedAt, lastFailedAt, droppedAt } = deadLetter;
  const { body, encoding } = deadLetter;
  return {
    ...{ id: batchId, batchId: batchId || undefined, rawKey, index: undefined, items, reason },
    ...{ firstFailedAt, lastFailedAt, droppedAt, body, encoding },
  };
}
