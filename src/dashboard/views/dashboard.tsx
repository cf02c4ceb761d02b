import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';

import { CountsChart, FailureChart } from './charts.tsx';
import type { Scheme } from '../data/colours.ts';
import { isFailure, totalOf } from '../data/counts.ts';
import { rangeText } from '../data/days.ts';
import { changeText, compactText, shareText, wholeText } from '../data/format.ts';
import { HeatMapTable } from './heat-map.tsx';
import { yearsMax, type Snapshot } from '../data/load.ts';
import { RowsTable } from './rows-table.tsx';
import type { State, Store } from '../data/store.ts';
import type { View } from '../data/view.ts';

interface Shown {
  store: Store;
  state: State;
  snapshot: Snapshot;
  scheme: Scheme;
}

export function Dashboard({ store, state, snapshot, scheme }: Shown) {
  const view = state.shownView;
  const total = totalOf(snapshot.pairs);
  const isOld = state.isLoading && countsOf(state.view) !== countsOf(view);
  if (total === 0) return <NothingHere store={store} state={state} snapshot={snapshot} />;
  return (
    <div class={isOld ? 'dashboard old' : 'dashboard'} aria-busy={state.isLoading}>
      <p class="loading-note" role="status">
        {isOld ? 'Loading …' : ''}
      </p>
      <Figures snapshot={snapshot} view={view} />
      <CountsChart store={store} view={view} snapshot={snapshot} scheme={scheme} />
      <div class="pair">
        <FailureChart view={view} snapshot={snapshot} scheme={scheme} />
        <HeatMapTable pairs={snapshot.pairs} />
      </div>
      <RowsTable store={store} view={state.view} snapshot={snapshot} />
    </div>
  );
}

/** A text that identifies the data that a view needs. */
function countsOf({ range, types, states, split }: View): string {
  return JSON.stringify([range, types, states, split]);
}

function Figures({ snapshot, view }: { snapshot: Snapshot; view: View }) {
  const { pairs, previous } = snapshot;
  const { failureWords: words, isLive } = view;
  const { total, failed, types, states } = useMemo(
    () => ({
      total: totalOf(pairs),
      failed: totalOf(pairs.filter(({ state }) => isFailure(state, words))),
      types: new Set(pairs.map(({ type }) => type)).size,
      states: new Set(pairs.map(({ state }) => state)).size,
    }),
    [pairs, words],
  );
  return (
    <section aria-labelledby="figures-title">
      <h2 class="title" id="figures-title">
        {rangeText(snapshot.range)}
      </h2>
      <dl class="figures">
        <Figure name="Events" value={wholeText(total)}>
          {previous && <ChangeLine now={total} before={previous.total} />}
        </Figure>
        <Figure name="Failures" value={wholeText(failed)}>
          {previous && <ChangeLine now={failed} before={previous.failed} isBadUp />}
        </Figure>
        <Figure name="Failure rate" value={shareText(failed, total)}>
          {previous && (
            <span>
              {previous.total === 0
                ? 'No events in the previous range'
                : `${shareText(previous.failed, previous.total)} before`}
            </span>
          )}
        </Figure>
        <Figure name="Types · states" value={`${wholeText(types)} · ${wholeText(states)}`}>
          <span>
            {compactText(pairs.length)} {pairs.length === 1 ? 'combination' : 'combinations'}
          </span>
        </Figure>
      </dl>
      <p class="unseen" role="status">
        {isLive ? `Live: ${compactText(total)} ${total === 1 ? 'event' : 'events'}` : ''}
      </p>
    </section>
  );
}

interface FigureProps {
  name: string;
  value: string;
  children: ComponentChildren;
}

function Figure({ name, value, children }: FigureProps) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>
        <strong>{value}</strong>
        {children}
      </dd>
    </div>
  );
}

interface ChangeProps {
  now: number;
  before: number;
  isBadUp?: boolean;
}

function ChangeLine({ now, before, isBadUp = false }: ChangeProps) {
  const isNew = before === 0 && now !== 0;
  const isUp = now > before;
  const hasArrow = !isNew && now !== before;
  return (
    <span class={!hasArrow || !isBadUp ? '' : isUp ? 'bad' : 'good'}>
      <span aria-hidden="true">{hasArrow ? (isUp ? '↑ ' : '↓ ') : ''}</span>
      {changeText(now, before)}
      {!isNew && <small> vs. the days before</small>}
    </span>
  );
}

function NothingHere({ store, state, snapshot }: Omit<Shown, 'scheme'>) {
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
          {wholeText(pending.amount)} {pending.unit} wait to be counted. They are shown here as soon
          as they are.
        </p>
      ) : (
        <p>There are none in the last {yearsMax} years either. Choose the days of your events.</p>
      )}
    </section>
  );
}
