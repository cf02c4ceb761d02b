import { randomUUID } from 'node:crypto';

import { TransactWriteItemsCommand, type TransactWriteItem } from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';

import { runRebuildSchedule } from './aws-rebuild-schedule.ts';
import type { Tampering } from './aws-rebuild-world.ts';
import { isNightly } from '../../support/run/tier.ts';
import { Violation } from '../faults/aws-world.ts';

const seedsMax = 2_000;

function changed(
  command: TransactWriteItemsCommand,
  change: (writes: readonly TransactWriteItem[]) => TransactWriteItem[],
): TransactWriteItemsCommand {
  const { TransactItems = [] } = command.input;
  // Without its token, a repeated request is a new one.
  return new TransactWriteItemsCommand({
    TransactItems: change(TransactItems),
    ClientRequestToken: randomUUID(),
  });
}

/** Seeds shortly before the first that shows a mistake; nightly, all are tried. */
const seedsBefore: Readonly<Record<string, number>> = {
  'corrects without a row that lets it happen once': 60,
};

/** Plausible mistakes that a few runs without faults would not show. */
const bugs: Record<string, Tampering> = {
  'corrects without a row that lets it happen once': (command) =>
    changed(command, (writes) =>
      writes.map((write) => {
        const { Put } = write;
        if (Put?.Item?.['entry']?.S?.startsWith('step:') !== true) return write;
        return { Put: { TableName: Put.TableName, Item: Put.Item } };
      }),
    ),
  'lets requests of an earlier rebuild take effect': (command) => {
    const { TransactItems = [], ClientRequestToken } = command.input;
    const [fence, ...writes] = TransactItems;
    if (fence?.ConditionCheck === undefined) return command;
    return new TransactWriteItemsCommand({ TransactItems: writes, ClientRequestToken });
  },
};

async function findViolation(tamper: Tampering, firstSeed: number): Promise<number> {
  for (let seed = firstSeed; seed < seedsMax; seed++) {
    try {
      await runRebuildSchedule(seed, { tamper });
    } catch (error) {
      if (error instanceof Violation) return seed;
      throw error;
    }
  }
  throw new Error(`none of ${seedsMax} schedules shows it`);
}

describe('a rebuild that', () => {
  it.each(Object.entries(bugs))(
    '%s is caught',
    async (name, tamper) => {
      const seed = await findViolation(tamper, isNightly() ? 0 : (seedsBefore[name] ?? 0));
      // Without the bug, the same schedule passes.
      await expect(runRebuildSchedule(seed)).resolves.toBeGreaterThanOrEqual(0);
    },
    600_000,
  );
});
