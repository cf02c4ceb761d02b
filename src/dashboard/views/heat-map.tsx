import { useMemo } from 'preact/hooks';

import { heatMapOf, type PairRow } from '../data/counts.ts';
import { compactText, wholeText } from '../data/format.ts';

const typesMax = 9;
const statesMax = 6;
const shades = 8;

/** The shade of a cell, from 0 (no events) up; logarithmic, because counts differ by powers of ten. */
function shadeOf(count: number, largest: number): number {
  if (count === 0) return 0;
  return largest <= 1
    ? shades
    : Math.max(1, Math.round((Math.log1p(count) / Math.log1p(largest)) * shades));
}

export function HeatMapTable({ pairs }: { pairs: readonly PairRow[] }) {
  const map = useMemo(() => heatMapOf(pairs, typesMax, statesMax), [pairs]);
  const nameOf = (name: string | undefined) =>
    name === undefined ? <i>others</i> : <bdi title={name}>{name}</bdi>;
  return (
    <section class="card" aria-labelledby="heat-title">
      <div class="card-head">
        <h2 id="heat-title">Type × state</h2>
      </div>
      <div class="scroll heat" tabIndex={0} role="region" aria-label="Events by type and state">
        <table>
          <caption class="unseen">Events by type and state; darker is more</caption>
          <thead>
            <tr>
              <td />
              {map.states.map((state) => (
                <th scope="col">{nameOf(state)}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {map.types.map((type, row) => (
              <tr>
                <th scope="row">{nameOf(type)}</th>
                {(map.cells[row] ?? []).map((count) => (
                  <td class={`shade-${shadeOf(count, map.largest)}`} title={wholeText(count)}>
                    {count === 0 ? '·' : compactText(count)}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
