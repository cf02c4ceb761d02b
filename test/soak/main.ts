import { randomInt } from 'node:crypto';

import { Command, InvalidArgumentError } from 'commander';

import { plantedBugs } from '../model/writer/writer-planted-bugs.ts';
import { noSummary, runSchedule, type ScheduleSummary } from '../model/writer/writer-schedule.ts';
import { killServer, smallServer } from '../support/processes/killed-server.ts';
import { undoAll } from '../support/processes/real-server.ts';

interface SoakOptions {
  readonly minutes: number;
  readonly seed: number;
  readonly kills?: number;
  readonly powerCuts?: number;
  readonly withoutSync?: true;
  readonly replay?: number;
}

const killsInRound = 40;
const progressMs = 10_000;

/** Runs until the time is over, the given numbers are reached, or something is wrong. */
class Soak {
  readonly #options: SoakOptions;
  readonly #endsAt: number;
  readonly #startedAt = performance.now();
  readonly #simulated: ScheduleSummary = { ...noSummary };
  #schedules = 0;
  #kills = 0;
  #stops = 0;
  #acknowledgedByServers = 0;
  #itemsOfServers = 0;
  #toldAt = 0;
  readonly #failures: string[] = [];

  constructor(options: SoakOptions) {
    this.#options = options;
    this.#endsAt = performance.now() + options.minutes * 60_000;
  }

  /** Returns the exit code. */
  async run(): Promise<number> {
    const { seed, withoutSync, kills = Infinity, powerCuts = Infinity } = this.#options;
    say(`seed ${seed}`);
    await Promise.all([
      this.#simulate(powerCuts),
      withoutSync === true ? undefined : this.#killServers(kills),
    ]);
    say(this.#summary());
    const isShort =
      (kills < Infinity && this.#kills < kills) ||
      (powerCuts < Infinity && this.#simulated.powerCuts < powerCuts);
    if (isShort && this.#failures.length === 0) say('the time was over before that was done');
    return this.#failures.length > 0 || isShort ? 1 : 0;
  }

  #fail(...failures: readonly string[]): void {
    const seconds = Math.round((performance.now() - this.#startedAt) / 1000);
    for (const failure of failures) say(`failed after ${seconds} s: ${failure}`);
    this.#failures.push(...failures);
  }

  get #isOver(): boolean {
    return this.#failures.length > 0 || performance.now() >= this.#endsAt;
  }

  async #simulate(powerCuts: number): Promise<void> {
    const { seed, withoutSync } = this.#options;
    const variant = withoutSync === true ? plantedBugs['does not sync'] : undefined;
    while (!this.#isOver && this.#simulated.powerCuts < powerCuts) {
      const scheduleSeed = seed + this.#schedules;
      try {
        const summary = await runSchedule(scheduleSeed, { ...(variant && { variant }) });
        for (const name of Object.keys(summary) as (keyof ScheduleSummary)[]) {
          this.#simulated[name] += summary[name];
        }
      } catch (error) {
        this.#fail(
          `${messageOf(error)}\nreplay: npm run test:soak -- --replay ${scheduleSeed}${withoutSync === true ? ' --without-sync' : ''}`,
        );
      }
      this.#schedules++;
      this.#tell();
    }
  }

  async #killServers(kills: number): Promise<void> {
    for (let round = 0; !this.#isOver && this.#kills < kills; round++) {
      const seed = this.#options.seed + round;
      const program = round % 2 === 0 ? undefined : smallServer;
      // Two rounds of kills, one of stops.
      const isOfStops = round % 3 === 2;
      try {
        const summary = await killServer({
          kills: isOfStops ? killsInRound / 2 : Math.min(killsInRound, kills - this.#kills),
          signal: isOfStops ? 'SIGTERM' : 'SIGKILL',
          seed,
          program,
          isOver: () => this.#isOver,
          onKill: () => {
            if (isOfStops) this.#stops++;
            else this.#kills++;
            this.#tell();
          },
        });
        this.#acknowledgedByServers += summary.acknowledged;
        this.#itemsOfServers += summary.items;
        const stages = [...summary.kills].map(([stage, count]) => `${stage}: ${count}`).join('; ');
        say(
          `${isOfStops ? 'stops' : 'kills'} of ${program === undefined ? 'the server' : 'one with small segments'}, seed ${seed}: ${stages}`,
        );
        this.#fail(...summary.violations.map((each) => `kills, seed ${seed}: ${each}`));
      } catch (error) {
        this.#fail(`kills, seed ${seed}: ${messageOf(error)}`);
      } finally {
        await undoAll();
      }
    }
  }

  #tell(): void {
    const now = performance.now();
    if (now - this.#toldAt < progressMs) return;
    this.#toldAt = now;
    say(this.#summary());
  }

  #summary(): string {
    const { lives, powerCuts, crashes, faults, acknowledged, items, calls } = this.#simulated;
    const seconds = Math.round((performance.now() - this.#startedAt) / 1000);
    return [
      `${seconds} s`,
      `${this.#kills} SIGKILLs and ${this.#stops} SIGTERMs (${this.#acknowledgedByServers} batches acknowledged, ${this.#itemsOfServers} items)`,
      `${powerCuts} power cuts, ${crashes} crashes, ${faults} failed calls in ${this.#schedules} schedules of ${lives} lives (${acknowledged} answers, ${items} items, ${calls} calls)`,
      `seed ${this.#options.seed}`,
    ].join('; ');
  }
}

async function replay(seed: number, withoutSync: boolean): Promise<number> {
  const variant = withoutSync ? plantedBugs['does not sync'] : undefined;
  try {
    await runSchedule(seed, { trace: say, ...(variant && { variant }) });
    say('nothing is wrong');
    return 0;
  } catch (error) {
    say(`failed: ${messageOf(error)}`);
    return 1;
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

function count(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 0) return value;
  throw new InvalidArgumentError('not a number');
}

const command = new Command()
  .name('test:soak')
  .description(
    'Kills and stops real servers, and runs stores on simulated machines that fail, until the time is over or the given numbers are reached.',
  )
  .option('--minutes <n>', 'the longest time to run', count, 10)
  .option('--seed <n>', 'the seed of all random decisions', count, randomInt(2 ** 30))
  .option('--kills <n>', 'the number of SIGKILLs', count)
  .option('--power-cuts <n>', 'the number of simulated power cuts', count)
  .option('--without-sync', 'plant a bug that must be found: the log is never synced')
  .option('--replay <seed>', 'run one schedule again and print its steps', count)
  .parse();

const options = command.opts<SoakOptions>();
process.exitCode =
  options.replay === undefined
    ? await new Soak(options).run()
    : await replay(options.replay, options.withoutSync === true);
