import { TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';

import { auditStack, type AuditOptions } from '../../../src/engines/aws/verify/audit.ts';
import { rebuildWith, type RebuildSummary } from '../../../src/engines/aws/verify/rebuild.ts';
import type { Backoff } from '../../../src/util/backoff.ts';
import { batchesInBlock } from '../../../src/engines/aws/ledger/dedup-records.ts';
import { chunkKey } from '../../../src/engines/aws/ledger/ledger-table.ts';
import { RebuildSuperseded } from '../../../src/engines/aws/ledger/fenced-writes.ts';
import { AuditDatabase } from '../../../src/engines/aws/verify/audit-database.ts';
import type { Difference } from '../../../src/pipeline/findings.ts';
import { clientOf } from '../faults/aws-fault-layer.ts';
import { dayOf, keepMs, type Client } from '../faults/aws-functions.ts';
import type { Invocation } from '../faults/aws-scheduler.ts';
import {
  bucket,
  countersTable,
  deadLetterQueueUrl,
  ledgerTable,
  type AwsSimulation,
} from '../simulated-aws/aws-simulation.ts';
import type { Item } from '../simulated-aws/aws-simulated-dynamodb.ts';
import type { World } from '../faults/aws-world.ts';

/** A planted bug in the transactions of a rebuild. */
export type Tampering = (command: TransactWriteItemsCommand) => TransactWriteItemsCommand;

const hourMs = 3_600_000;

/** Audits and rebuilds in a world, and damage by hand. */
export class RebuildWorld {
  readonly #world: World;
  readonly #simulation: AwsSimulation;
  readonly #tamper: Tampering;
  /** The finished rebuilds, and their reports. */
  readonly done: RebuildSummary[] = [];
  running = 0;

  constructor(world: World, simulation: AwsSimulation, tamper: Tampering = (command) => command) {
    this.#world = world;
    this.#simulation = simulation;
    this.#tamper = tamper;
  }

  /** Changes, deletes or adds a counter, or deletes a dedup record, by hand. */
  damage(): void {
    const { random } = this.#world;
    const counters = this.#simulation.dynamodb.tables.get(countersTable);
    const ledger = this.#simulation.dynamodb.tables.get(ledgerTable);
    const rows = counters?.items() ?? [];
    const dedupRecords = (ledger?.items() ?? []).filter(
      ({ entry, numbers }) => entry?.S?.startsWith('chunk:') === true || numbers !== undefined,
    );
    const kind = random.pick(['change', 'change', 'delete', 'add', 'dedup record', 'dedup record']);
    this.#world.note(() => `damage: ${kind}`);
    if (kind === 'add') {
      counters?.put({
        ...{ date: { S: '2026-01-02' }, type_state: { S: 'unknown#unsent' } },
        ...{ type: { S: 'unknown' }, state: { S: 'unsent' }, count: { N: '3' } },
      });
    } else if (kind === 'dedup record') {
      if (dedupRecords.length > 0) this.#removeRecord(random.pick(dedupRecords));
    } else if (rows.length > 0) {
      const row = random.pick(rows);
      if (kind === 'delete') counters?.delete(row);
      else counters?.put({ ...row, count: { N: String(random.below(9)) } });
    }
  }

  /** Deletes a row; for a dedup block sometimes only one of its numbers. */
  #removeRecord(row: Item): void {
    const ledger = this.#simulation.dynamodb.tables.get(ledgerTable);
    const [first, ...others] = row['numbers']?.NS ?? [];
    this.#world.note(() => `damage: ${first === undefined ? 'a record' : 'of a block'}`);
    if (others.length === 0 || this.#world.random.chance(0.3)) {
      ledger?.delete(row);
      this.#forget(row);
    } else {
      ledger?.put({ ...row, numbers: { NS: others } });
      this.#forget({ ...row, numbers: { NS: [first ?? ''] } });
    }
  }

  /** Without its record, a counted chunk may be dropped. */
  #forget(row: Item): void {
    const own = { id: row['id']?.S ?? '', entry: row['entry']?.S ?? '' };
    const keys = batchesInBlock(row)?.map(({ batchId }) => chunkKey(batchId, 0)) ?? [own];
    for (const { id, entry } of keys) this.#world.countedKeys.delete(`${id} ${entry}`);
  }

  /** Starts a rebuild; starts it again some time after an interruption or a failure. */
  rebuild(again: () => void): void {
    const { scheduler } = this.#world;
    this.running++;
    let pending: object | undefined;
    const end = (isDone: boolean) => {
      this.running--;
      if (!isDone) again();
    };
    const invocation = scheduler.start<RebuildSummary>(
      'rebuild',
      24 * hourMs,
      (self) => this.#run(self, (command) => (pending = command)),
      {
        onEnd: (outcome) => {
          this.#world.note(() => `${invocation.name} ends ${describe(outcome)}`);
          if ('value' in outcome) this.done.push(outcome.value);
          end('value' in outcome);
        },
        onDeath: () => {
          // Its requests may still be in flight.
          if (pending !== undefined) this.#deliverLate(pending);
          end(false);
        },
      },
    );
    this.#world.note(() => `${invocation.name} begins`);
  }

  #run(self: Invocation, onPending: (command: object | undefined) => void) {
    const once = clientOf(self, this.#world.scheduler, this.#world.random, 1);
    const transactions: Client = {
      async send(command) {
        onPending(command);
        const answer = await once.send(command);
        onPending(undefined);
        return answer;
      },
    };
    const tampered: Client = {
      send: (command) =>
        transactions.send(
          command instanceof TransactWriteItemsCommand ? this.#tamper(command) : command,
        ),
    };
    return rebuildWith(
      {
        ...this.#options(self),
        ...{ transactions: tampered, dryRun: false, withoutDamaged: false },
        onDifference: (difference) => this.#world.note(() => difference.detail),
      },
      new AuditDatabase(':memory:'),
    );
  }

  #deliverLate(command: object): void {
    const { scheduler, random } = this.#world;
    const late = scheduler.start(
      'late request',
      hourMs,
      async (self) => {
        await scheduler.sleep(self, random.below(60_000));
        await scheduler.call(self, command);
      },
      { onEnd: () => this.#world.note(() => `${late.name} ended`), onDeath: () => undefined },
    );
  }

  /** The differences that an audit finds at this moment. */
  async audit(): Promise<Difference[]> {
    const differences: Difference[] = [];
    await this.#world.ask((self) =>
      auditStack({
        ...this.#options(self),
        onDifference: (difference) => differences.push(difference),
      }),
    );
    return differences;
  }

  #options(self: Invocation): AuditOptions {
    const { scheduler, random } = this.#world;
    const client = clientOf(self, scheduler, random, 6);
    const backoff: Backoff = {
      ...{ attemptsMax: 12, delayMsMax: 1_000, deadline: Number.POSITIVE_INFINITY },
      now: () => scheduler.now,
      sleep: (milliseconds) => scheduler.sleep(self, milliseconds),
      random: () => random.next(),
    };
    return {
      store: {
        ...{ dynamodb: client, s3: client, sqs: client, dayOf, keepMs },
        ...{ countersTable, ledgerTable, rawBucket: bucket, deadLetterQueueUrl },
      },
      ...{ backoff, dates: undefined, received: undefined, width: 4 },
      ...{ requestsPerSecond: Number.POSITIVE_INFINITY, inFlightMs: 30 * 60_000 },
      onEstimate: () => undefined,
      onProgress: () => undefined,
    };
  }
}

function describe(
  outcome: { readonly value: RebuildSummary } | { readonly error: unknown },
): string {
  if ('value' in outcome) return JSON.stringify(outcome.value);
  return outcome.error instanceof RebuildSuperseded ? 'overtaken' : String(outcome.error);
}
