import { countOfDifferences } from '../../pipeline/findings.ts';
import type { RebuildReport, ReplacedCounters, StoreAdmin } from '../../pipeline/store-admin.ts';
import { amountOf } from '../../util/thousands.ts';
import { withStore } from '../cli/open-store.ts';
import { UsageError } from '../cli/option-parsers.ts';
import { jsonText } from '../cli/terminal-text.ts';
import { DifferenceList, reportingOn } from './differences-text.ts';
import type { RebuildCommandOptions } from './verify-options.ts';

/** Rebuilds the counters from the raw batches. Returns the exit code. */
export function rebuild(options: RebuildCommandOptions): Promise<number> {
  const { place, replaced, json } = options;
  return withStore(place, async (store) => {
    const text =
      replaced === undefined
        ? await rebuildCounters(store, options)
        : await useReplaced(store, replaced, json);
    process.stdout.write(`${text}\n`);
    return 0;
  });
}

async function rebuildCounters(store: StoreAdmin, options: RebuildCommandOptions): Promise<string> {
  const differences = new DifferenceList();
  const report = await reportingOn(differences, async (events) => {
    try {
      return await store.rebuild(options, events);
    } catch (error) {
      // The differences name the damaged batches that the error mentions.
      for (const line of differences.lines()) process.stderr.write(`${line}\n`);
      throw error;
    }
  });
  return options.json ? asJson(report, differences) : asText(report, differences);
}

function asJson({ isSwitched, members }: RebuildReport, differences: DifferenceList): string {
  return jsonText({
    switched: isSwitched,
    ...members,
    difference_count: differences.count,
    differences: differences.json(),
  });
}

function asText({ isSwitched, notes, result }: RebuildReport, list: DifferenceList): string {
  const unchanged = `${countOfDifferences(list.count)}; nothing was changed, and rebuild continues from here`;
  return [...list.lines(), ...notes, isSwitched ? result : unchanged].join('\n');
}

async function useReplaced(
  store: StoreAdmin,
  what: 'drop' | 'restore',
  json: boolean,
): Promise<string> {
  const result = what === 'drop' ? await store.dropReplaced() : await store.restoreReplaced?.();
  if (result === undefined) throw new UsageError('--restore-old is not supported by this store');
  const { wereKept, counters } = result;
  if (!json) return replacedText(what, result);
  return jsonText({ [what === 'drop' ? 'dropped' : 'restored']: wereKept, counters });
}

function replacedText(what: 'drop' | 'restore', { wereKept, counters }: ReplacedCounters): string {
  if (!wereKept) return 'there are no old counters';
  if (counters === undefined) return 'old counters dropped';
  const number = amountOf(counters, 'counter');
  return what === 'drop' ? `dropped the old counts of ${number}` : `restored ${number}`;
}
