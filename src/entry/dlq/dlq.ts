import { once } from 'node:events';

import type { RedriveResult } from '../../pipeline/store-admin.ts';
import { withStore } from '../cli/open-store.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';
import { deadLetterJson, deadLetterText } from './dead-letter-text.ts';
import { DeadLetterFilter, type ChosenDeadLetters, type DlqOptions } from './dlq-options.ts';

/** Prints the dead letters with their reasons. Returns the exit code. */
export function dlqList({ place, json, limit }: DlqOptions): Promise<number> {
  return withStore(place, async ({ deadLetters }) => {
    let shown = 0;
    const { isMore, hidden } = await deadLetters.list(limit, async (page) => {
      shown += page.length;
      const text = page.map((each) => (json ? `${deadLetterJson(each)}\n` : deadLetterText(each)));
      if (!process.stdout.write(text.join(''))) await once(process.stdout, 'drain');
    });
    if (shown === 0 && !json) process.stdout.write('no dead letters\n');
    reportLimit(isMore, limit);
    if (hidden > 0) {
      process.stderr.write(
        `about ${hidden} dead letters are in flight to another command or console; list again in some minutes\n`,
      );
    }
    return 0;
  });
}

/** Tries again to count the chosen dead letters. Returns the exit code: 1 if some are left. */
export function dlqRedrive(options: ChosenDeadLetters): Promise<number> {
  const { place, json, limit } = options;
  return withStore(place, async ({ deadLetters }) => {
    const filter = new DeadLetterFilter(options);
    const result = await deadLetters.redrive(filter, (id, outcome) => {
      if (!json) process.stdout.write(`${visible(id || 'damaged')}: ${visible(outcome)}\n`);
    });
    process.stdout.write(`${json ? redriveJson(result) : redriveText(result)}\n`);
    reportLimit(result.isMore, limit);
    return filter.reportMissing() && result.left.length === 0 ? 0 : 1;
  });
}

function redriveJson({ how, done, left }: RedriveResult): string {
  if (how === 'sent') return jsonText({ sent: done, left });
  const failed = left.map(({ id, reason }) => ({ batch_id: id, reason }));
  return jsonText({ counted: done, failed });
}

function redriveText({ how, done, left }: RedriveResult): string {
  return how === 'sent'
    ? `sent ${done} to be counted, left ${left.length}`
    : `counted ${done}, not counted ${left.length}`;
}

/** Decides that dead letters are never counted. Returns the exit code. */
export function dlqDrop(options: ChosenDeadLetters): Promise<number> {
  const { place, json, limit } = options;
  return withStore(place, async ({ deadLetters }) => {
    const filter = new DeadLetterFilter(options);
    const { dropped, countedBefore, isMore } = await deadLetters.drop(filter);
    if (json) {
      process.stdout.write(`${jsonText({ dropped, counted_before: countedBefore })}\n`);
    } else {
      for (const id of countedBefore ?? []) {
        process.stdout.write(`${visible(id)}: already counted from another copy; removed\n`);
      }
      process.stdout.write(`dropped ${dropped}; they stay on record and are never counted\n`);
    }
    reportLimit(isMore, limit);
    return filter.reportMissing() ? 0 : 1;
  });
}

function reportLimit(isMore: boolean, limit: number): void {
  if (!isMore) return;
  process.stderr.write(
    `there may be more dead letters than --limit ${limit} allows; run the command again, or with a larger --limit\n`,
  );
}
