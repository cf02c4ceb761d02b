import {
  dropDeadLetters,
  listDeadLetters,
  redriveDeadLetters,
  type StoredDeadLetter,
} from '../engines/embedded/dead-letters.ts';
import type { RecordedDeadLetter } from '../engines/embedded/ledger.ts';
import { UsageError } from './option-parsers.ts';
import { jsonText, visible } from './terminal-text.ts';

export interface DlqOptions {
  dataDir: string;
  json: boolean;
}

/** Which dead letters a command is about: those of some batches, or all. */
export interface ChosenLetters extends DlqOptions {
  batchIds: readonly string[];
  all: boolean;
}

/** Prints the batches that are not counted, and why. Returns the exit code. */
export function dlqList({ dataDir, json }: DlqOptions): number {
  const letters = listDeadLetters(dataDir);
  for (const letter of letters) {
    process.stdout.write(json ? `${jsonText(documentOf(letter))}\n` : textOf(letter));
  }
  if (letters.length === 0 && !json) process.stdout.write('no dead letters\n');
  return 0;
}

/** Counts those that can be counted now. Returns the exit code: 1 where some cannot. */
export function dlqRedrive(options: ChosenLetters): number {
  const { counted, failed } = redriveDeadLetters(options.dataDir, chosen(options), Date.now());
  if (options.json) {
    const failures = failed.map(({ batchId, reason }) => ({ batch_id: batchId, reason }));
    process.stdout.write(`${jsonText({ counted, failed: failures })}\n`);
  } else {
    for (const { batchId, reason } of failed) {
      process.stdout.write(`${batchId || 'damaged'}: still not counted: ${visible(reason)}\n`);
    }
    process.stdout.write(`counted ${counted}, not counted ${failed.length}\n`);
  }
  return failed.length === 0 ? 0 : 1;
}

/** Decides that they are never counted. Returns the exit code. */
export function dlqDrop(options: ChosenLetters): number {
  const dropped = dropDeadLetters(options.dataDir, chosen(options), Date.now());
  const text = `dropped ${dropped}; they stay on record and are never counted`;
  process.stdout.write(`${options.json ? jsonText({ dropped }) : text}\n`);
  return 0;
}

function chosen({ batchIds, all }: ChosenLetters): (letter: RecordedDeadLetter) => boolean {
  if (all === batchIds.length > 0) throw new UsageError('name batch ids, or say --all');
  return ({ batchId }) => all || batchIds.includes(batchId);
}

function documentOf(letter: StoredDeadLetter): object {
  const { batchId, rawKey, reason, droppedAt, body } = letter;
  const text = body === undefined ? undefined : Buffer.from(body);
  return {
    batch_id: batchId || null,
    raw_key: rawKey ?? null,
    reason,
    first_failed_at: new Date(letter.firstFailedAt).toISOString(),
    last_failed_at: new Date(letter.lastFailedAt).toISOString(),
    dropped_at: droppedAt === undefined ? null : new Date(droppedAt).toISOString(),
    body_base64: text?.toString('base64') ?? null,
  };
}

function textOf(letter: StoredDeadLetter): string {
  const { batchId, rawKey, reason, droppedAt } = letter;
  const from = new Date(letter.firstFailedAt).toISOString();
  const to = new Date(letter.lastFailedAt).toISOString();
  const dropped = droppedAt === undefined ? '' : `, dropped ${new Date(droppedAt).toISOString()}`;
  return `${rawKey ?? (batchId || 'damaged')}\n  ${visible(reason)}\n  first failed ${from}, last ${to}${dropped}\n`;
}
