import { useMemo, useState } from 'preact/hooks';

import { longDay, namedDay } from '../data/calendar/date-text.ts';
import type { Day } from '../data/calendar/days.ts';
import { isMoreFailures, type Finding } from '../data/unusual/findings.ts';
import { judgedFrom, type History } from '../data/unusual/history.ts';
import { daysInReview, statementOf, summaryOf, summaryText } from '../data/unusual/words.ts';
import { wholeText } from '../data/format.ts';
import { filterValuesMax, type View } from '../data/view.ts';
import type { Snapshot } from '../state/load.ts';
import type { Store } from '../state/store.ts';
import { Arrow } from './arrow.tsx';

interface UnusualProps {
  store: Store;
  view: View;
  snapshot: Snapshot;
  today: Day;
}

const shownMax = 5;

/** Shows what is unusual in the range, then the latest complete day, then today so far. */
export function Unusual({ store, view, snapshot, today }: UnusualProps) {
  const { history, findings, range, typePairs } = snapshot;
  const [isWhole, setIsWhole] = useState(false);
  const types = useMemo(() => new Set(typePairs.map(({ type }) => type)).size, [typePairs]);
  if (history === undefined) return null;
  const { over, soFar } = daysInReview(range, today);
  const from = judgedFrom(history);
  const shown = isWhole ? findings : findings.slice(0, shownMax);
  const isOfSome = history.types.size < types;
  return (
    <section class="card unusual" aria-labelledby="unusual-title">
      <h2 id="unusual-title">
        {findings.length > 0
          ? 'What is unusual'
          : from > over
            ? 'Too few days to say what is unusual'
            : isOfSome
              ? 'Nothing unusual in the checked data'
              : 'Nothing unusual'}
      </h2>
      {findings.length > 0 && (
        <ul class="findings">
          {shown.map((finding) => (
            <FindingLine store={store} view={view} finding={finding} />
          ))}
        </ul>
      )}
      {findings.length > shownMax && (
        <button type="button" class="quiet" onClick={() => setIsWhole(!isWhole)}>
          {isWhole ? 'Show fewer' : `${findings.length - shownMax} more`}
        </button>
      )}
      <dl class="days-in-review">
        <DayLine store={store} history={history} day={over} isOver />
        {soFar && <DayLine store={store} history={history} day={today} isOver={false} />}
      </dl>
      {isOfSome && (
        <p class="hint">
          This check covers all events, the failing states and{' '}
          {history.types.size === 0
            ? 'no individual types, because there are too many'
            : `the ${history.types.size} largest of ${wholeText(types)} types`}
          . Select types to check them.
        </p>
      )}
      {from > range.from && from <= over && (
        <p class="hint">
          Only days from {longDay(from)} on are checked: earlier days have less than four weeks of
          history.
        </p>
      )}
      {view.states.length > 0 && <p class="hint">This check uses the events in all states.</p>}
      <HowDaysAreJudged />
    </section>
  );
}

function HowDaysAreJudged() {
  return (
    <details class="behind">
      <summary>How days are checked</summary>
      <p>
        Days, alone and in a row, are compared with the eight weeks before the first of them: events
        with the mean of the same weekdays, failure rates with failures ÷ events of those weeks.
        Days that were unusual themselves are left out and replaced by earlier weeks; at least four
        of the same weekdays must have data. A difference is unusual if it is
      </p>
      <ul>
        <li>
          at least a quarter of the usual for all events, or half of it for a failure rate, a type
          or a state, and
        </li>
        <li>
          more than chance explains, measured by how much the days of those weeks scatter. The more
          names and days there are, the less likely chance must be: about one page in a hundred
          without anything unusual reports a change that is only chance.
        </li>
      </ul>
      <p>
        The first day named is the one that explains the numbers best; if the change barely stands
        out, it can be some days off. After eight weeks, a change is the new normal. Of today, only
        failure rates and more events than on a whole day are checked.
      </p>
    </details>
  );
}

interface FindingProps {
  store: Store;
  view: View;
  finding: Finding;
}

/** A finding; a click shows its days and names. */
function FindingLine({ store, view, finding }: FindingProps) {
  const { what, numbers, causes } = statementOf(finding, view.types.length > 0);
  const { isAbove, type, state, range } = finding;
  const others = finding.isShared ? [] : finding.types.map(({ name }) => name);
  const names = (type === undefined ? others : [type]).slice(0, filterValuesMax);
  const show = () =>
    store.show({ range, types: names, states: state === undefined ? [] : [state] });
  return (
    <li class={isMoreFailures(finding) ? 'bad' : ''}>
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
  const summary = useMemo(() => summaryOf(history, day), [history, day]);
  if (summary === undefined) return null;
  const isUnknown = isOver && summary.events.usual === undefined;
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
        {isUnknown && ' (fewer than four earlier days with the same weekday to compare with)'}
      </dd>
    </div>
  );
}
