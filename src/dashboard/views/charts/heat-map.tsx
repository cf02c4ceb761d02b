import { useMemo } from 'preact/hooks';

import { compactText, shareText, wholeText } from '../../data/format.ts';
import {
  heatMapOf,
  heatModes,
  shadeOf,
  type HeatColumn,
  type HeatMap,
  type HeatMode,
} from '../../data/heat-map.ts';
import type { View } from '../../data/view.ts';
import { failingOf, type Snapshot } from '../../state/load.ts';
import type { Store } from '../../state/store.ts';
import { Segments } from '../segments.tsx';
import { NameButton } from './name-button.tsx';

interface HeatMapProps {
  store: Store;
  view: View;
  snapshot: Snapshot;
}

/** The events by type and state; a cell filters to both, a name to it. */
export function HeatMapTable({ store, view, snapshot }: HeatMapProps) {
  const mode = view.heat ?? usualMode(snapshot);
  const isOfRates = mode === 'rate';
  const pairs = isOfRates ? snapshot.typePairs : snapshot.pairs;
  const map = useMemo(() => heatMapOf(pairs, failingOf(view)), [pairs, view.failureWords]);
  const columns = map.columns
    .map((column, index) => ({ ...column, index }))
    .filter(({ isFailing }) => !isOfRates || isFailing);
  const largest = largestOf(map, mode);
  const failedOf = (row: readonly number[]) =>
    columns.reduce((sum, { index }) => sum + (row[index] ?? 0), 0);
  const textOf = (count: number, total: number) =>
    count === 0 ? '·' : mode === 'count' ? compactText(count) : shareText(count, total);
  const end = (row: readonly number[], total: number) =>
    isOfRates ? shareText(failedOf(row), total) : compactText(total);
  return (
    <section class="card" aria-labelledby="heat-title">
      <div class="card-head">
        <h2 id="heat-title">Type × state</h2>
        <span class="aside">{captions[mode]}</span>
        <Segments
          label="Cells show"
          choices={heatModes}
          chosen={mode}
          onChoose={(heat) => store.show({ heat })}
        />
      </div>
      <div class="scroll heat" tabIndex={0} role="region" aria-label="Events by type and state">
        <table>
          <caption class="unseen">{captions[mode]}; darker is more</caption>
          <thead>
            <tr>
              <td />
              {columns.map((column) => (
                <th scope="col" class={column.isFailing ? 'failing' : ''}>
                  <StateName store={store} column={column} />
                </th>
              ))}
              <th scope="col">{isOfRates ? failuresText(view) : 'Total'}</th>
            </tr>
          </thead>
          <tbody>
            {map.types.map((type, row) => {
              const cells = map.cells[row] ?? [];
              const total = map.rowTotals[row] ?? 0;
              return (
                <tr>
                  <th scope="row">
                    {type === undefined ? (
                      <i>others</i>
                    ) : (
                      <NameButton name={type} onClick={() => store.show({ types: [type] })} />
                    )}
                  </th>
                  {columns.map(({ name, isFailing, index }) => {
                    const count = cells[index] ?? 0;
                    const value = mode === 'count' ? count : count / total;
                    const most = isFailing ? largest.failing : largest.passing;
                    const isSum = mode === 'count' && (type === undefined || name === undefined);
                    const shade = isSum ? 0 : shadeOf(value, most, mode);
                    const text = textOf(count, total);
                    const isOne = type !== undefined && name !== undefined && count > 0;
                    return (
                      <td class={`shade-${shade}${isFailing ? ' failing' : ''}`}>
                        {isOne ? (
                          <button
                            type="button"
                            title={`${wholeText(count)}: show only ${type}, ${name}`}
                            onClick={() => store.show({ types: [type], states: [name] })}
                          >
                            {text}
                          </button>
                        ) : (
                          text
                        )}
                      </td>
                    );
                  })}
                  <td class="total">{end(cells, total)}</td>
                </tr>
              );
            })}
          </tbody>
          <tfoot>
            <tr>
              <th scope="row">All types</th>
              {columns.map(({ index }) => (
                <td class="total">{textOf(map.columnTotals[index] ?? 0, map.total)}</td>
              ))}
              <td class="total">{end(map.columnTotals, map.total)}</td>
            </tr>
          </tfoot>
        </table>
      </div>
      {columns.length === 0 && <p class="hint">No state is a failure.</p>}
    </section>
  );
}

/** Failure rates if the first finding is about one. */
function usualMode({ findings: [first] }: Snapshot): HeatMode {
  return first?.measure === 'failures' && first.isAbove ? 'rate' : 'count';
}

const captions = {
  count: 'events',
  share: 'events ÷ events of the type',
  rate: 'failures ÷ events of the type',
};

function failuresText({ states }: View): string {
  return states.length === 0 ? 'All failures' : 'Chosen failures';
}

/**
 * The largest values of the failing states and of the others: each has its own scale. Sums of many
 * names do not set the scale, because single names would all be pale beside them.
 */
function largestOf({ cells, types, columns, rowTotals }: HeatMap, mode: HeatMode) {
  const isSum = (row: number, column: number) =>
    mode === 'count' && (types[row] === undefined || columns[column]?.name === undefined);
  const largest = (failing: boolean) =>
    Math.max(
      0,
      ...cells.flatMap((row, at) =>
        row
          .filter((_, index) => columns[index]?.isFailing === failing && !isSum(at, index))
          .map((count) => (mode === 'count' ? count : count / (rowTotals[at] ?? 1))),
      ),
    );
  return { failing: largest(true), passing: largest(false) };
}

function StateName({ store, column }: { store: Store; column: HeatColumn }) {
  const { name, isFailing } = column;
  if (name === undefined) return <i>{isFailing ? 'other failures' : 'others'}</i>;
  return <NameButton name={name} onClick={() => store.show({ states: [name] })} />;
}
