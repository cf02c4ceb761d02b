import { DatabaseSync } from 'node:sqlite';

import { formatBatchId, rawKeyOf } from '../../../src/domain/batch-id.ts';
import type { CounterRow } from '../../../src/domain/counter.ts';
import { auditDataDirectory } from '../../../src/engines/embedded/verify/audit.ts';
import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import type { EmbeddedOptions } from '../../../src/engines/embedded/options.ts';
import { readProgressRow } from '../../../src/engines/embedded/store/progress-row.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';
import type { Platform } from '../../../src/engines/embedded/writer/platform.ts';
import {
  dropReplacedTables,
  rebuildDataDirectory,
} from '../../../src/engines/embedded/verify/rebuild.ts';
import type { Acceptance } from '../../../src/engines/embedded/writer/submission-ring.ts';
import { Writer } from '../../../src/engines/embedded/writer/writer.ts';
import type { IngestOutcome } from '../../../src/pipeline/ports.ts';
import type { SimulatedMachine } from './simulated-machine.ts';
import { assert, type Oracle, type SentBatch } from './writer-oracle.ts';

/** Thrown when a life has ended, by a power cut or by a failure that the writer reported. */
export class LifeOver extends Error {
  override readonly name = 'LifeOver';
}

/** The process on a machine: the writer, and its clients and observers. */
export class WriterLife {
  readonly #machine: SimulatedMachine;
  readonly #oracle: Oracle;
  readonly #options: EmbeddedOptions;
  readonly #platform: Platform;
  #writer: Writer;
  #failure: string | undefined;
  /** Another connection that holds the database. */
  #holder: DatabaseSync | undefined;

  /** @param platform the platform of the machine, or one with a bug. */
  constructor(
    machine: SimulatedMachine,
    oracle: Oracle,
    options: EmbeddedOptions,
    platform: Platform,
  ) {
    this.#machine = machine;
    this.#oracle = oracle;
    this.#options = options;
    this.#platform = platform;
    this.#writer = this.#open();
  }

  get #mayFail(): boolean {
    return this.#machine.isDead || this.#machine.faults > 0;
  }

  #open(): Writer {
    try {
      return Writer.open(
        this.#options,
        {
          onProgress: () => undefined,
          onFailure: (message) => {
            assert(this.#mayFail, () => `the writer failed without a reason: ${message}`);
            assert(this.#failure === undefined, () => `the writer failed twice: ${message}`);
            this.#failure = message;
          },
          onUnexpectedError: (message) => assert(false, () => `a defect: ${message}`),
        },
        this.#platform,
      );
    } catch (error) {
      assert(this.#mayFail, () => `the writer does not start: ${String(error)}`);
      throw new LifeOver(String(error), { cause: error });
    }
  }

  /** One commit of the writer: batches that one sync covers. */
  async commit(batches: readonly SentBatch[]): Promise<void> {
    const staged = batches.map((batch) => this.#stage(batch));
    const outcomes = await this.#machine.until(Promise.all(staged));
    const isDurable = this.#writer.commit();
    this.#tell(batches, outcomes, isDurable);
    this.goOn();
  }

  /** Two commits, the second of which is staged while the first is synced. */
  async overlap(first: readonly SentBatch[], second: readonly SentBatch[]): Promise<void> {
    const covered = first.map((batch) => [batch, this.#stagePlain(batch)] as const);
    const committed = this.#writer.startCommit();
    const meanwhile = second.map((batch) => [batch, this.#stagePlain(batch)] as const);
    const isDurable = await this.#machine.until(committed);
    const taken = covered.filter((each) => each[1] !== undefined);
    this.#tell(
      taken.map(([batch]) => batch),
      taken.map(([, verdict]) => verdict),
      isDurable,
    );
    this.goOn();
    const others = [...covered, ...meanwhile].filter((each) => each[1] === undefined);
    const outcomes = await this.#machine.until(
      Promise.all(others.map(([batch]) => this.#ingest(batch))),
    );
    const rest = meanwhile.filter((each) => each[1] !== undefined);
    const isRestDurable = this.#writer.commit();
    this.#tell(
      [...rest, ...others].map(([batch]) => batch),
      [...rest.map(([, verdict]) => verdict), ...outcomes],
      isRestDurable,
    );
    this.goOn();
  }

  /** Sends a body with the key of another one. */
  async misuseKey(batch: SentBatch): Promise<void> {
    if (batch.acknowledged.size === 0 || this.#oracle.mayHaveExpired(batch)) return;
    const body = Buffer.from('{"processed_devices":[]}');
    const misuse = { ...batch.submission, body, encoding: 'identity' as const };
    const outcome = await this.#machine.until(this.#writer.ingest(misuse));
    this.goOn();
    const code = outcome.accepted ? 'accepted' : outcome.problem.code;
    const isRight =
      code === 'idempotency_key_reused' || (code === 'storage_failed' && this.#mayFail);
    assert(isRight, () => `another body under the key of ${batch.state} was ${code}`);
  }

  async pass(milliseconds: number): Promise<void> {
    await this.#machine.advance(milliseconds);
    this.#oracle.passed(milliseconds);
    this.goOn();
  }

  /** Advances the clock by days: their timers would take long. */
  skip(milliseconds: number): void {
    this.#machine.skip(milliseconds);
    this.#oracle.passed(milliseconds);
  }

  setClock(wallMs: number, isStopped: boolean): void {
    this.#machine.wallMs = wallMs;
    this.#machine.isClockStopped = isStopped;
  }

  /** Another program takes or releases the lock of the database. */
  holdDatabase(): void {
    if (this.#holder !== undefined) {
      this.#releaseDatabase();
      return;
    }
    this.#holder = new DatabaseSync(dataPaths(this.#options.dataDir).database);
    this.#holder.exec('BEGIN IMMEDIATE');
  }

  #releaseDatabase(): void {
    this.#holder?.close();
    this.#holder = undefined;
  }

  async rebuild(dryRun: boolean): Promise<void> {
    this.#releaseDatabase();
    await this.#beside(() => {
      const { dataDir } = this.#options;
      dropReplacedTables(dataDir, this.#machine.fileSystem);
      const summary = rebuildDataDirectory({
        dataDir,
        dryRun,
        withoutDamaged: false,
        fileSystem: this.#machine.fileSystem,
        onDifference: ({ detail }) => assert(false, () => `a rebuild differs: ${detail}`),
        onProgress: () => undefined,
        now: this.#machine.now,
      });
      assert(summary.isSwitched !== dryRun, () => 'a rebuild did not do what it should');
    });
  }

  /** The writer ends as it should, and starts again. */
  async restart(): Promise<void> {
    await this.close();
    this.#writer = this.#open();
  }

  async close(): Promise<void> {
    this.#releaseDatabase();
    try {
      await this.#machine.until(this.#writer.close());
    } catch (error) {
      assert(this.#mayFail, () => `the writer does not stop: ${String(error)}`);
      throw new LifeOver(String(error), { cause: error });
    }
    this.goOn();
  }

  /** The process has ended, and with it all its locks. */
  abandon(): void {
    this.#releaseDatabase();
  }

  /** Waits until everything is counted, then compares it with the sent batches, and audits. */
  async judge(): Promise<void> {
    this.#releaseDatabase();
    for (let round = 0; ; round++) {
      const { durableEnd, countedThrough } = this.#writer.progress();
      if (durableEnd === countedThrough) break;
      assert(round < 1000, () => `counted through ${countedThrough} of ${durableEnd} forever`);
      await this.pass(50);
    }
    await this.#beside(() => this.#compare());
  }

  async #compare(): Promise<void> {
    const { dataDir } = this.#options;
    const paths = dataPaths(dataDir);
    const database = new DatabaseSync(paths.database, { readOnly: true });
    const reader = new LogReader(this.#machine.fileSystem, paths.log);
    try {
      const rows = database.prepare('SELECT date, type, state, count FROM counters').all();
      this.#oracle.judgeCounters(rows as unknown as CounterRow[]);
      this.#oracle.judgeDeadLetters(database);
      this.#oracle.judgeRaw(reader, readProgressRow(database)?.removedThrough ?? 0);
    } finally {
      reader.close();
      database.close();
    }
    await auditDataDirectory({
      dataDir,
      threads: 1,
      fileSystem: this.#machine.fileSystem,
      dates: undefined,
      received: undefined,
      onDifference: ({ code, detail }) => assert(false, () => `audit: ${code}, ${detail}`),
      onProgress: () => undefined,
    });
  }

  /** The work of another process on this machine may meet its faults, too. */
  async #beside(act: () => Promise<void> | void): Promise<void> {
    const { faults } = this.#machine;
    try {
      await act();
    } catch (error) {
      const isFault = this.#machine.isDead || this.#machine.faults > faults;
      if (!isFault || isViolation(error)) throw error;
    }
    this.goOn();
  }

  #stage(batch: SentBatch): Promise<IngestOutcome | Acceptance> {
    const verdict = isPlain(batch) ? this.#stagePlain(batch) : undefined;
    return verdict === undefined ? this.#ingest(batch) : Promise.resolve(verdict);
  }

  #stagePlain(batch: SentBatch): Acceptance | undefined {
    const { body, caller } = batch.submission;
    const verdict = this.#writer.stagePlain(body, 0, body.length, caller);
    if (verdict !== undefined) this.#oracle.sent(batch);
    return verdict && { ...verdict, batchId: Uint8Array.from(verdict.batchId) };
  }

  #ingest(batch: SentBatch): Promise<IngestOutcome> {
    this.#oracle.sent(batch);
    return this.#writer.ingest(batch.submission);
  }

  /** No client has received responses after the end. */
  #tell(
    batches: readonly SentBatch[],
    outcomes: readonly (IngestOutcome | Acceptance | undefined)[],
    isDurable: boolean,
  ): void {
    if (this.#machine.isDead) return;
    assert(isDurable || this.#mayFail, () => 'nothing was committed, without a reason');
    batches.forEach((batch, index) => {
      const outcome = outcomes[index];
      if (outcome === undefined) return;
      if ('accepted' in outcome) this.#oracle.answered(batch, outcome, this.#mayFail);
      else if (isDurable) this.#oracle.answered(batch, acceptedOf(outcome), this.#mayFail);
    });
  }

  /** @throws {LifeOver} if the life has ended. */
  goOn(): void {
    if (this.#machine.isDead) throw new LifeOver('the power is gone');
    if (this.#failure !== undefined) throw new LifeOver(this.#failure);
  }
}

function isPlain({ submission }: SentBatch): boolean {
  const { encoding, caller, idempotencyKey } = submission;
  return encoding === 'identity' && caller === '' && idempotencyKey === undefined;
}

function isViolation(error: unknown): boolean {
  return error instanceof Error && error.name === 'Violation';
}

function acceptedOf({ batchId: bytes, receivedAt, enqueued }: Acceptance): IngestOutcome {
  const batchId = formatBatchId(bytes);
  const rawKey = rawKeyOf(batchId, receivedAt);
  return { accepted: true, batchId, rawKey, enqueued, rejected: 0, errors: [] };
}
