import {
  dropDeadLetters,
  listDeadLetters,
  redriveDeadLetters,
  type StoredDeadLetter,
} from '../../engines/embedded/store/dead-letters.ts';
import type { RecordedDeadLetter } from '../../engines/embedded/store/progress-row.ts';
import { DeadLetterFilter, type ChosenDeadLetters, type DlqOptions } from './dlq-options.ts';
import {
  deadLetterJson,
  deadLetterText,
  deadLetterName,
  type DeadLetterView,
} from './dead-letter-text.ts';
import { withLocalStore } from '../cli/local-store.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';

/** Prints the dead letters with their reasons. Returns the exit code. */
export async function dlqList(options: DlqOptions): Promise<number> {
  const { place, json } = options;
  if (place.stack !== undefined) {
    const { listOfStack } = await import('./stack-dlq.ts');
    return listOfStack(place.stack, options);
  }
  const { dataDir } = place;
  const deadLetters = await withLocalStore(dataDir, () => listDeadLetters(dataDir).map(shownOf));
  for (const deadLetter of deadLetters) {
    process.stdout.write(json ? `${deadLetterJson(deadLetter)}\n` : deadLetterText(deadLetter));
  }
  if (deadLetters.length === 0 && !json) process.stdout.write('no dead letters\n');
  return 0;
}

/** Counts the dead letters that can be counted now. Returns the exit code: 1 if some cannot. */
export async function dlqRedrive(options: ChosenDeadLetters): Promise<number> {
  const { place, json } = options;
  if (place.stack !== undefined) {
    const { redriveOnStack } = await import('./stack-dlq.ts');
    return redriveOnStack(place.stack, options);
  }
  const filter = new DeadLetterFilter(options);
  const { dataDir } = place;
  const { counted, failed } = await withLocalStore(dataDir, () =>
    redriveDeadLetters(dataDir, chosenBy(filter), Date.now()),
  );
  if (json) {
    const failures = failed.map(({ batchId, reason }) => ({ batch_id: batchId, reason }));
    process.stdout.write(`${jsonText({ counted, failed: failures })}\n`);
  } else {
    for (const { batchId, reason, isRestored } of failed) {
      const name = deadLetterName({ id: batchId, rawKey: undefined });
      const prefix = isRestored ? '' : 'still not counted: ';
      process.stdout.write(`${name}: ${prefix}${visible(reason)}\n`);
    }
    process.stdout.write(`counted ${counted}, not counted ${failed.length}\n`);
  }
  return filter.reportMissing() && failed.length === 0 ? 0 : 1;
}

/** Decides that dead letters are never counted. Returns the exit code. */
export async function dlqDrop(options: ChosenDeadLetters): Promise<number> {
  const { place, json } = options;
  if (place.stack !== undefined) {
    const { dropFromStack } = await import('./stack-dlq.ts');
    return dropFromStack(place.stack, options);
  }
  const filter = new DeadLetterFilter(options);
  const { dataDir } = place;
  const dropped = await withLocalStore(dataDir, () =>
    dropDeadLetters(dataDir, chosenBy(filter), Date.now()),
  );
  const text = `dropped ${dropped}; they stay on record and are never counted`;
  process.stdout.write(`${json ? jsonText({ dropped }) : text}\n`);
  return filter.reportMissing() ? 0 : 1;
}

function chosenBy(filter: DeadLetterFilter): (deadLetter: RecordedDeadLetter) => boolean {
  return ({ batchId, reason }) => filter.isChosen({ names: [batchId], reason });
}

function shownOf(deadLetter: StoredDeadLetter): DeadLetterView {
  const { batchId, rawKey, items, reason, firstFailedAt, lastFailedAt, droppedAt } = deadLetter;
  const { body, encoding } = deadLetter;
  return {
    ...{ id: batchId, batchId: batchId || undefined, rawKey, index: undefined, items, reason },
    ...{ firstFailedAt, lastFailedAt, droppedAt, body, encoding },
  };
}
