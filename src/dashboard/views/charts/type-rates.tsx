import { useMemo } from 'preact/hooks';

import { colourOfFailures } from '../../data/colours.ts';
import { rangeText } from '../../data/calendar/date-text.ts';
import { pointsText, shareText, wholeText } from '../../data/format.ts';
import { typeRates } from '../../data/type-rates.ts';
import type { View } from '../../data/view.ts';
import { failingOf, type Snapshot } from '../../state/load.ts';
import type { Store } from '../../state/store.ts';
import { Bar } from './bar.tsx';
import { NameButton } from './name-button.tsx';

interface TypeRatesProps {
  store: Store;
  view: View;
  snapshot: Snapshot;
}

const typesMax = 10;

/** The types by failure rate, with the change from the days before; a name filters to it. */
export function TypeRates({ store, view, snapshot }: TypeRatesProps) {
  const { typePairs, earlierPairs, comparison } = snapshot;
  const rates = useMemo(
    () => typeRates(typePairs, earlierPairs, failingOf(view)),
    [snapshot, view.failureWords],
  );
  const shown = rates.slice(0, typesMax);
  const largest = Math.max(...shown.map(({ rate }) => rate));
  const before = comparison.kind === 'known' ? rangeText(comparison.before) : undefined;
  return (
    <section class="card" aria-labelledby="rates-title">
      <div class="card-head">
        <h2 id="rates-title">Failure rate by type</h2>
        <span class="aside">
          {before === undefined
            ? 'failures ÷ events of the type'
            : `failures ÷ events of the type; change in points from ${before}`}
        </span>
      </div>
      <table class="ranked">
        <thead>
          <tr>
            <th scope="col">Type</th>
            <th scope="col" class="bar">
              Rate
            </th>
            {before !== undefined && <th scope="col">Change</th>}
            <th scope="col">Failures</th>
          </tr>
        </thead>
        <tbody>
          {shown.map(({ type, failed, events, rate, before: then }) => (
            <tr>
              <th scope="row">
                <NameButton name={type} onClick={() => store.show({ types: [type] })} />
              </th>
              <td class="bar">
                <Bar share={largest === 0 ? 0 : rate / largest} colour={colourOfFailures} />
                <span>{shareText(failed, events)}</span>
              </td>
              {before !== undefined && (
                <td class={directionOf(rate, then)}>
                  {then === undefined ? 'new' : pointsText(rate, then)}
                </td>
              )}
              <td>
                {wholeText(failed)} <small>of {wholeText(events)}</small>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      {rates.length > shown.length && (
        <p class="hint">{wholeText(rates.length - shown.length)} more types.</p>
      )}
    </section>
  );
}

/** More failures are bad, fewer are good; a change that rounds to nothing is neither. */
function directionOf(rate: number, before: number | undefined): string {
  if (before === undefined || pointsText(rate, before) === '±0') return '';
  return rate > before ? 'bad' : 'good';
}
