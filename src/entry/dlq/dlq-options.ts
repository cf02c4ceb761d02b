import type { Command } from 'commander';

import type { DeadLetterSelection } from '../../pipeline/store-admin.ts';
import {
  addStoreOptions,
  count,
  option,
  storePlace,
  type StorePlace,
} from '../cli/common-options.ts';
import { nonEmpty, UsageError } from '../cli/option-parsers.ts';

/** The options of all `dlq` commands. */
export interface DlqOptions {
  place: StorePlace;
  json: boolean;
  /** How many dead letters of a stack are read. */
  limit: number;
}

/** Selects dead letters by id or reason. */
interface DeadLetterChoice {
  /** Batch ids, raw keys or ids of dead letters; empty with `--all` or `--reason`. */
  ids: readonly string[];
  /** The code at the start of the reason; undefined: any. */
  reason: string | undefined;
}

export type ChosenDeadLetters = DlqOptions & DeadLetterChoice;

const limitDefault = 10_000;
/** SQS allows 120,000 messages in flight; this leaves the rest to other readers of the queue. */
const limitMax = 100_000;

interface DlqValues {
  json?: true;
  all?: true;
  reason?: string;
  limit: number;
}

/** Adds the options of all `dlq` commands. */
export function addDlqOptions(command: Command): Command {
  const limit = 'how many dead letters of a stack to read at most';
  return addStoreOptions(command, 'bucket', 'table', 'ledger', 'queue')
    .addOption(count('--limit <number>', limit, limitMax, limitDefault))
    .option('--json', 'print JSON');
}

/** Adds the options of `dlq redrive` and `dlq drop`. */
export function addChoiceOptions(command: Command): Command {
  return addDlqOptions(command)
    .option('--all', 'select all dead letters')
    .addOption(option('--reason <code>', 'select by reason, such as too_old', nonEmpty));
}

export function dlqOptions(command: Command): DlqOptions {
  const { json = false, limit } = command.opts<DlqValues>();
  return { place: storePlace(command), json, limit };
}

export function chosenDeadLetters(command: Command, ids: readonly string[]): ChosenDeadLetters {
  const { all = false, reason } = command.opts<DlqValues>();
  const isWhole = all || reason !== undefined;
  if (isWhole === ids.length > 0) {
    throw new UsageError('select dead letters by their ids, by --reason, or with --all');
  }
  return { ...dlqOptions(command), ids, reason };
}

/** Selects dead letters, and reports ids that matched none. */
export class DeadLetterFilter implements DeadLetterSelection {
  readonly limit: number;
  readonly #choice: DeadLetterChoice;
  readonly #missing: Set<string>;

  constructor(choice: ChosenDeadLetters) {
    this.limit = choice.limit;
    this.#choice = choice;
    this.#missing = new Set(choice.ids);
  }

  readonly isChosen = (names: readonly string[], reason: string): boolean => {
    const { ids, reason: code } = this.#choice;
    if (code !== undefined && reason.split(':', 1)[0] !== code) return false;
    if (ids.length === 0) return true;
    const found = names.filter((name) => ids.includes(name));
    for (const name of found) this.#missing.delete(name);
    return found.length > 0;
  };

  /** Reports on stderr which ids matched no dead letter. Returns whether all matched. */
  reportMissing(): boolean {
    for (const id of this.#missing) {
      process.stderr.write(`${JSON.stringify(id)} is not among the dead letters\n`);
    }
    return this.#missing.size === 0;
  }
}
