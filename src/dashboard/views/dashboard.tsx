import { useEffect, useMemo, useState } from 'preact/hooks';

import { totalOf } from '../data/counts.ts';
import { rangeText } from '../data/calendar/date-text.ts';
import { wholeText } from '../data/format.ts';
import type { View } from '../data/view.ts';
import { yearsMax, type Snapshot } from '../state/load.ts';
import type { State, Store } from '../state/store.ts';
import { CountsChart } from './charts/counts-chart.tsx';
import { FailureChart } from './charts/failure-chart.tsx';
import { HeatMapTable } from './charts/heat-map.tsx';
import { TypeRates } from './charts/type-rates.tsx';
import { Figures } from './figures.tsx';
import { RowsTable } from './rows-table.tsx';
import { isMoreFailures } from '../data/unusual/findings.ts';
import { Unusual } from './unusual.tsx';

interface Shown {
  store: Store;
  state: State;
  snapshot: Snapshot;
}

export function Dashboard({ store, state, snapshot }: Shown) {
  const { days } = state;
  const view = state.shownView;
  const isOld = state.isLoading && countsOf(state.view) !== countsOf(view);
  const { findings } = snapshot;
  const unusual = useMemo(
    () => findings.filter(isMoreFailures).map(({ range }) => range),
    [findings],
  );
  const shown = { store, view, snapshot, today: days.today };
  const steps = useSteps();
  if (totalOf(snapshot.pairs) === 0) {
    return <NothingHere store={store} state={state} snapshot={snapshot} />;
  }
  return (
    <div class={isOld ? 'dashboard old' : 'dashboard'} aria-busy={state.isLoading}>
      <p class="loading-note" role="status">
        {isOld ? 'Loading …' : ''}
      </p>
      <Unusual {...shown} />
      <Figures snapshot={snapshot} view={view} />
      <CountsChart {...shown} />
      {steps > 1 && (
        <div class="pair">
          <FailureChart {...shown} unusual={unusual} />
          <TypeRates {...shown} />
        </div>
      )}
      {steps > 2 && <HeatMapTable {...shown} />}
      {steps > 3 && <RowsTable store={store} view={state.view} snapshot={snapshot} />}
    </div>
  );
}

/** How many parts of the first view to show: one more after each frame, so that no task is long. */
function useSteps(): number {
  const [steps, setSteps] = useState(1);
  useEffect(() => setSteps((now) => Math.min(4, now + 1)), [steps]);
  return steps;
}

/** A key of the data that a view needs. */
function countsOf({ range, types, states, split }: View): string {
  return JSON.stringify([range, types, states, split]);
}

function NothingHere({ store, state, snapshot }: Shown) {
  const { elsewhere } = snapshot;
  const { health } = state;
  const pending = health?.kind === 'ready' ? health.pending : undefined;
  const { types, states } = state.view;
  const isFiltered = types.length + states.length > 0 && snapshot.allTypes.length > 0;
  return (
    <section class="notice" role="status">
      <h2>No counts here</h2>
      <p>
        {isFiltered
          ? 'There are no counts for the chosen types and states on these days.'
          : `There are no counts for ${rangeText(snapshot.range)}.`}
      </p>
      {isFiltered ? (
        <button type="button" class="main" onClick={() => store.show({ types: [], states: [] })}>
          Show all types and states
        </button>
      ) : elsewhere !== undefined ? (
        <button type="button" class="main" onClick={() => store.show({ range: elsewhere })}>
          Show {rangeText(elsewhere)}
        </button>
      ) : pending !== undefined && pending.amount > 0 ? (
        <p>
          {wholeText(pending.amount)} {pending.unit} wait to be counted. They appear here once they
          are counted.
        </p>
      ) : (
        <p>There are none in the last {yearsMax} years either. Choose the days of your events.</p>
      )}
    </section>
  );
}
