import type { Command } from 'commander';

import {
  addStoreOptions,
  count,
  option,
  storePlace,
  type StorePlace,
} from '../cli/common-options.ts';
import { nonEmpty, UsageError } from '../cli/option-parsers.ts';

/** What the commands of `dlq` need to know. */
export interface DlqOptions {
  place: StorePlace;
  json: boolean;
  /** How many letters of a stack are looked at. */
  limit: number;
}

/** Which dead letters a command is about. */
interface DeadLetterChoice {
  /** Batch ids, raw keys, or ids of letters; empty where all are chosen, or those of a reason. */
  ids: readonly string[];
  /** The code that the reason begins with; undefined: any. */
  reason: string | undefined;
}

export type ChosenDeadLetters = DlqOptions & DeadLetterChoice;

const limitDefault = 10_000;
/** SQS lets 120,000 messages be received and not deleted; whoever else reads has the rest. */
const limitMax = 100_000;

interface DlqValues {
  json?: true;
  all?: true;
  reason?: string;
  limit: number;
}

/** Adds the options that all commands of `dlq` have. */
export function addDlqOptions(command: Command): Command {
  const limit = 'look at so many letters of a stack at most';
  return addStoreOptions(command, 'bucket', 'table', 'ledger')
    .addOption(count('--limit <number>', limit, limitMax, limitDefault))
    .option('--json', 'print JSON');
}

/** And those of the ones that are about some letters. */
export function addChoiceOptions(command: Command): Command {
  return addDlqOptions(command)
    .option('--all', 'all of them')
    .addOption(option('--reason <code>', 'those with this reason, such as too_old', nonEmpty));
}

export function dlqOptions(command: Command): DlqOptions {
  const { json = false, limit } = command.opts<DlqValues>();
  return { place: storePlace(command), json, limit };
}

export function chosenDeadLetters(command: Command, ids: readonly string[]): ChosenDeadLetters {
  const { all = false, reason } = command.opts<DlqValues>();
  const isWhole = all || reason !== undefined;
  if (isWhole === ids.length > 0) {
    throw new UsageError('name the letters, or choose by --reason, or say --all');
  }
  return { ...dlqOptions(command), ids, reason };
}

/** What a letter is known by. */
interface Candidate {
  readonly names: readonly (string | undefined)[];
  readonly reason: string;
}

/** Says of each letter whether it is chosen, and in the end which ids no letter had. */
export class DeadLetterFilter {
  readonly #choice: DeadLetterChoice;
  readonly #missing: Set<string>;

  constructor(choice: DeadLetterChoice) {
    this.#choice = choice;
    this.#missing = new Set(choice.ids);
  }

  isChosen({ names, reason }: Candidate): boolean {
    const { ids, reason: code } = this.#choice;
    if (code !== undefined && reason.split(':', 1)[0] !== code) return false;
    if (ids.length === 0) return true;
    const found = names.filter((name) => name !== undefined && ids.includes(name));
    for (const name of found) this.#missing.delete(name ?? '');
    return found.length > 0;
  }

  /** Says on stderr which ids no letter had. Returns whether each had one. */
  reportMissing(): boolean {
    for (const id of this.#missing) {
      process.stderr.write(`${JSON.stringify(id)} is not among the dead letters\n`);
    }
    return this.#missing.size === 0;
  }
}
