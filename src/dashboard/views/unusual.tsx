import { useState } from 'preact/hooks';

import { namedDay } from '../data/calendar/date-text.ts';
import type { Day } from '../data/calendar/days.ts';
import type { Finding } from '../data/unusual/findings.ts';
import type { History } from '../data/unusual/history.ts';
import { daysInReview, statementOf, summaryOf, summaryText } from '../data/unusual/words.ts';
import type { View } from '../data/view.ts';
import type { Snapshot } from '../state/load.ts';
import type { Store } from '../state/store.ts';
import { Arrow } from './arrow.tsx';

interface UnusualProps {
  store: Store;
  view: View;
  snapshot: Snapshot;
  today: Day;
}

const shownMax = 3;

/** Says what is unusual in the range, then the latest day that is over, then today so far. */
export function Unusual({ store, view, snapshot, today }: UnusualProps) {
  const { history, findings, range } = snapshot;
  const [isWhole, setIsWhole] = useState(false);
  if (history === undefined) return null;
  const { over, soFar } = daysInReview(range, today);
  const latest = over === undefined ? undefined : summaryOf(history, over);
  const hasNoPast = latest?.events.kind === 'unknown';
  const shown = isWhole ? findings : findings.slice(0, shownMax);
  return (
    <section class="card unusual" aria-labelledby="unusual-title">
      <h2 id="unusual-title">
        {findings.length > 0
          ? 'What is unusual'
          : over === undefined
            ? 'Today is not over'
            : hasNoPast
              ? 'Too few days to say what is unusual'
              : 'Nothing unusual'}
      </h2>
      {findings.length > 0 && (
        <ul class="findings">
          {shown.map((finding) => (
            <FindingLine store={store} view={view} finding={finding} over={over} />
          ))}
        </ul>
      )}
      {findings.length > shownMax && (
        <button type="button" class="quiet" onClick={() => setIsWhole(!isWhole)}>
          {isWhole ? 'Show fewer' : `${findings.length - shownMax} more`}
        </button>
      )}
      <dl class="days-in-review">
        {over !== undefined && <DayLine store={store} history={history} day={over} isOver />}
        {soFar && <DayLine store={store} history={history} day={today} isOver={false} />}
      </dl>
      {view.states.length > 0 && <p class="hint">Events of days are those in all states.</p>}
      {history.types.size === 0 && (
        <p class="hint">There are too many names to judge single types: choose some types.</p>
      )}
      <details class="behind">
        <summary>How days are judged</summary>
        <p>
          Each number is compared with the same weekday of the eight weeks before: with their
          median, and with their spread, the median distance from it. It is unusual if it differs by
          more than five times the spread, by at least a quarter of the median (half for failure
          rates and single names), and by more than chance explains (four times the square root of
          the expected number; five for single names). It takes four such days with data. Today is
          not judged before it is over.
        </p>
      </details>
    </section>
  );
}

interface FindingProps {
  store: Store;
  view: View;
  finding: Finding;
  /** The latest day that is over. */
  over: Day | undefined;
}

/** A click shows the days and the names that it speaks of. */
function FindingLine({ store, view, finding, over }: FindingProps) {
  const { what, numbers, causes } = statementOf(finding, view.types.length > 0);
  const { measure, isAbove, type, state, types } = finding;
  const { from, to } = finding.range;
  const range = { from, to: finding.isOngoing ? (over ?? to) : to };
  const isBad = measure === 'failures' && isAbove;
  const names = type === undefined ? types.map(({ name }) => name) : [type];
  const show = () =>
    store.show({ range, types: names, states: state === undefined ? [] : [state] });
  return (
    <li class={isBad ? 'bad' : ''}>
      <button type="button" onClick={show}>
        <Arrow sign={isAbove ? 1 : -1} />
        <span>
          <b>{what}</b> {numbers}
          {causes !== '' && <small>{causes}</small>}
        </span>
        <span class="go">
          Show these events <span aria-hidden="true">›</span>
        </span>
      </button>
    </li>
  );
}

interface DayLineProps {
  store: Store;
  history: History;
  day: Day;
  isOver: boolean;
}

function DayLine({ store, history, day, isOver }: DayLineProps) {
  const summary = summaryOf(history, day);
  if (summary === undefined) return null;
  const isUnknown = isOver && summary.events.kind === 'unknown';
  return (
    <div>
      <dt>
        <button
          type="button"
          class="name"
          title="Show only this day"
          onClick={() => store.show({ range: { from: day, to: day } })}
        >
          {isOver ? namedDay(day) : `${namedDay(day)} so far`}
        </button>
      </dt>
      <dd>
        {summaryText(summary, isOver)}
        {isUnknown && ' (fewer than four such weekdays before to compare with)'}
      </dd>
    </div>
  );
}
