import { carriedIn } from '../../../pipeline/chunks/dead-letter-content.ts';
import type { DeadLetterSink } from '../../../pipeline/ports.ts';
import type { BodyGroups } from '../intake/body-groups.ts';
import { messagesIn } from '../queue/queue-depth.ts';
import { forEachDeadLetter, type PassOptions, type StoredDeadLetter } from './dead-letter-pass.ts';

interface KeepBodiesOptions {
  /** The pass over the dead-letter queue. */
  readonly pass: PassOptions;
  /** The same queue. */
  readonly deadLetters: DeadLetterSink;
  readonly groups: Pick<BodyGroups, 'put'>;
}

/** Stores the bodies that dead letters carry. One that is stored already may be stored again. */
export async function keepBodies(
  groups: Pick<BodyGroups, 'put'>,
  deadLetters: readonly Pick<StoredDeadLetter, 'body'>[],
): Promise<void> {
  const carried = deadLetters.flatMap(({ body }) => carriedIn(body) ?? []);
  if (carried.length > 0) await groups.put(carried);
}

/**
 * Stores the bodies of dead letters that SQS itself moved. The processor stores a body before it
 * dead-letters its message; SQS moves a message that was received too often, which may be the only copy,
 * and deletes it 14 days after it was sent. Each is sent anew with its reason, so that it is kept for 14
 * days from now on and not stored again, and then deleted. Returns their number.
 */
export async function keepDeadBodies(options: KeepBodiesOptions): Promise<number> {
  const { pass, deadLetters, groups } = options;
  // Receiving from an empty queue would wait.
  if ((await messagesIn(pass.client, pass.queueUrl)) === 0) return 0;
  let kept = 0;
  await forEachDeadLetter(pass, async (page) => {
    const moved = page.filter((each) => each.isMovedBySqs && carriedIn(each.body) !== undefined);
    if (moved.length === 0) return new Set();
    await keepBodies(groups, moved);
    const sent = await deadLetters.add(
      moved.map(({ id, sentAt, body, reason, firstFailedAt }) => ({
        ...{ messageId: id, originalId: id, sentAt, body, reason, firstFailedAt },
      })),
    );
    const done = moved.filter(({ id }) => sent.has(id));
    kept += done.length;
    return new Set(done);
  });
  return kept;
}
