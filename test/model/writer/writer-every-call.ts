import type { Ending, FaultFor, MachineFault } from './simulated-machine.ts';
import { Violation } from './writer-oracle.ts';
import type { Lives, Stage } from './writer-stages.ts';

/** What happens to a call, and how the machine ends after it. */
export interface Trouble {
  readonly name: string;
  /** The calls that it can happen to. */
  readonly meets: (call: string) => boolean;
  readonly faultFor: (number: number) => FaultFor;
  readonly ending: Ending;
}

const isWrite = (call: string) => call === 'write';

/** Each is tried at every call that it can happen to. */
export const troubles: readonly Trouble[] = [
  once('EIO', { error: 'EIO' }, 'power cut'),
  once('ENOSPC', { error: 'ENOSPC' }, 'crash'),
  once('EIO though it is done', { errorAfter: 'EIO' }, 'crash', (call) => call === 'exec COMMIT'),
  once('a short write', { shortWriteBytes: 13 }, 'crash', isWrite),
  {
    name: 'a short write, then ENOSPC',
    meets: isWrite,
    faultFor: (number) => (call) =>
      call.index === number
        ? { shortWriteBytes: 13 }
        : call.index === number + 1
          ? { error: 'ENOSPC' }
          : undefined,
    ending: 'power cut',
  },
];

/** Further ones, for longer runs. */
export const moreTroubles: readonly Trouble[] = [
  once('EIO, killed later', { error: 'EIO' }, 'crash'),
  once('ENOSPC, and a power cut later', { error: 'ENOSPC' }, 'power cut'),
  ...(['EIO', 'ENOSPC'] as const).flatMap((error) => [
    {
      name: `${error}, and a power cut at the next call`,
      meets: () => true,
      faultFor:
        (number: number): FaultFor =>
        ({ index }) =>
          index === number ? { error } : index === number + 1 ? 'powerCutBefore' : undefined,
      ending: 'power cut' as const,
    },
    {
      name: `${error} from there on`,
      meets: () => true,
      faultFor:
        (number: number): FaultFor =>
        ({ index }) =>
          index >= number ? { error } : undefined,
      ending: 'power cut' as const,
    },
  ]),
];

function once(
  name: string,
  fault: MachineFault,
  ending: Ending,
  meets: (call: string) => boolean = () => true,
): Trouble {
  const faultFor = (number: number): FaultFor => {
    return ({ index }) => (index === number ? fault : undefined);
  };
  return { name, meets, faultFor, ending };
}

export interface TrialSummary {
  runs: number;
  /** The number of lives that ended before everything was done; the others completed. */
  ended: number;
  /** The messages of the lives that ended. */
  readonly messages: Set<string>;
}

/**
 * Runs a stage repeatedly, with a fault at each of its calls in turn. After each run, the next life
 * opens what was left, sends again the batches that have a key, counts, and audits. With a stride,
 * it tries only every nth call.
 * @throws {Violation}
 */
export async function tryEveryCall(
  lives: Lives,
  stage: Stage,
  trouble: Trouble,
  { stride = 1, from = 0 } = {},
): Promise<TrialSummary> {
  const { calls, next } = await lives.live(stage.world, stage.act);
  next('crash', 1);
  const summary = { runs: 0, ended: 0, messages: new Set<string>() };
  for (const [number, call] of calls.entries()) {
    if (!trouble.meets(call) || (number + from) % stride !== 0) continue;
    try {
      const end = await tryCall(lives, stage, trouble, number);
      summary.runs++;
      if (end === undefined) continue;
      summary.ended++;
      summary.messages.add(end.replaceAll(lives.options.dataDir, ''));
    } catch (error) {
      const what = error instanceof Error ? error.message : String(error);
      throw new Violation(`${trouble.name} at call ${number} (${call}): ${what}`, { cause: error });
    }
  }
  return summary;
}

async function tryCall(lives: Lives, stage: Stage, trouble: Trouble, number: number) {
  const { end, next } = await lives.live(stage.world, stage.act, trouble.faultFor(number));
  const last = await lives.live(next(trouble.ending, number), async ({ life, oracle }) => {
    for (const batch of oracle.batches) {
      if (batch.submission.idempotencyKey !== undefined) await life.commit([batch]);
    }
    await life.judge();
    await life.close();
  });
  last.next('crash', 1);
  return end;
}
