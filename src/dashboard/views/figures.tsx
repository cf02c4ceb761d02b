import type { ComponentChildren } from 'preact';
import { useMemo } from 'preact/hooks';

import { areAlike, workdaysIn, type Change, type Comparison } from '../data/comparison.ts';
import { addDays, countDays, type Range } from '../data/calendar/days.ts';
import { totalOf, sumOf } from '../data/counts.ts';
import { longDay, rangeText } from '../data/calendar/date-text.ts';
import {
  averageText,
  changeText,
  compactText,
  pointsText,
  shareText,
  weeksText,
  wholeText,
} from '../data/format.ts';
import type { View } from '../data/view.ts';
import type { Snapshot } from '../state/load.ts';
import { Arrow } from './arrow.tsx';

/** The sums of the range, each with its change if the days before are known. */
export function Figures({ snapshot, view }: { snapshot: Snapshot; view: View }) {
  const { pairs, failedDaily, wholeDaily, comparison } = snapshot;
  const { total, failed, whole, types, states } = useMemo(
    () => ({
      total: totalOf(pairs),
      failed: sumOf(failedDaily.values()),
      whole: sumOf(wholeDaily.values()),
      types: new Set(pairs.map(({ type }) => type)).size,
      states: new Set(pairs.map(({ state }) => state)).size,
    }),
    [snapshot],
  );
  const known = comparison.kind === 'known' ? comparison : undefined;
  return (
    <section aria-labelledby="figures-title">
      <h2 class="title" id="figures-title">
        {rangeText(snapshot.range)}
      </h2>
      <dl class="figures">
        <Figure name="Events" value={wholeText(total)}>
          {known && <ChangeLine change={known.events} of={known} />}
        </Figure>
        <Figure name="Failures" value={wholeText(failed)} isFailing={failed > 0}>
          {known && <ChangeLine change={known.failed} of={known} isBadUp />}
        </Figure>
        <Figure
          name="Failure rate"
          of={view.types.length > 0 ? 'failures ÷ events of these types' : 'failures ÷ all events'}
          value={shareText(failed, whole)}
          isFailing={failed > 0}
        >
          {known && <RateLine of={known} />}
        </Figure>
        <Figure name="Types of device" value={wholeText(types)}>
          <span>
            in {wholeText(states)} {states === 1 ? 'state' : 'states'}
          </span>
        </Figure>
      </dl>
      <p class="compared">{comparisonText(comparison)}</p>
      <p class="unseen" role="status">
        {view.isLive ? `Live: ${compactText(total)} ${total === 1 ? 'event' : 'events'}` : ''}
      </p>
    </section>
  );
}

/** Which days the changes compare, or why there are none. */
function comparisonText(comparison: Comparison): string {
  if (comparison.kind === 'known') {
    const { now, before, isCut } = comparison;
    const days = countDays({ from: before.from, to: addDays(now.from, -1) });
    const areWeeks = countDays(now) === countDays(before) && days % 7 === 0;
    const weeks = areWeeks ? `, the same weekdays ${weeksText(days / 7)} earlier` : '';
    const cut = isCut ? '. Today is left out, because it is not complete' : '';
    return `Changes are vs. ${rangeText(before)}${weeks}${cut}.${lengthText(now, before)}`;
  }
  if (comparison.kind === 'no data') {
    const day = longDay(comparison.firstDay);
    return comparison.hasOlder
      ? `No comparison: there are regular data only since ${day}.`
      : `No comparison: there are no data before ${day}.`;
  }
  return comparison.reason === 'incomplete' ? 'No comparison: the day is not complete yet.' : '';
}

/** A longer month, or a month with fewer weekends, has more events for that reason alone. */
function lengthText(now: Range, before: Range): string {
  if (areAlike(now, before)) return '';
  const [days, daysBefore] = [countDays(now), countDays(before)];
  const [own, earlier] = [workdaysIn(now), workdaysIn(before)];
  const workdays = own === earlier ? '' : `${own} from Monday to Friday; those had ${earlier}`;
  if (days === daysBefore) return ` These days have ${workdays}.`;
  const of = workdays === '' ? '' : `, ${workdays}`;
  return ` Numbers are per day, because these are ${days} days and those were ${daysBefore}${of}.`;
}

interface FigureProps {
  name: string;
  /** What the share is a part of, in words. */
  of?: string;
  value: string;
  isFailing?: boolean;
  children: ComponentChildren;
}

function Figure({ name, of, value, isFailing = false, children }: FigureProps) {
  return (
    <div class={isFailing ? 'failing' : ''}>
      <dt>
        {name} {of !== undefined && <small>{of}</small>}
      </dt>
      <dd>
        <strong>{value}</strong>
        {children}
      </dd>
    </div>
  );
}

/** More failures are bad and fewer are good; more events are neither. */
function classOf(sign: number, isBadUp: boolean): string {
  return !isBadUp || sign === 0 ? '' : sign > 0 ? 'bad' : 'good';
}

type Known = Extract<Comparison, { kind: 'known' }>;

/**
 * The change of a number. Of ranges of different lengths, the numbers per day; those with other numbers of
 * working days have no good and bad.
 */
function ChangeLine({
  change,
  of,
  isBadUp = false,
}: {
  change: Change;
  of: Known;
  isBadUp?: boolean;
}) {
  const [days, daysBefore] = [countDays(of.now), countDays(of.before)];
  const isPerDay = days !== daysBefore;
  const now = isPerDay ? change.now / days : change.now;
  const before = isPerDay ? change.before / daysBefore : change.before;
  const sign = before === 0 ? 0 : Math.sign(now - before);
  const text = (value: number) => (isPerDay ? averageText(value) : wholeText(value));
  return (
    <span class={classOf(sign, isBadUp && areAlike(of.now, of.before))}>
      <Arrow sign={sign} />
      {changeText(now, before)}
      {before > 0 && (
        <small>
          {' '}
          from {text(before)} to {text(now)}
          {isPerDay && ' a day'}
          {of.isCut && ', without today'}
        </small>
      )}
    </span>
  );
}

function RateLine({ of: { failed, whole, isCut } }: { of: Known }) {
  if (whole.before === 0) return <span>No events before</span>;
  if (whole.now === 0) return null;
  const [now, before] = [failed.now / whole.now, failed.before / whole.before];
  const points = pointsText(now, before);
  const sign = points === '±0' ? 0 : Math.sign(now - before);
  return (
    <span class={classOf(sign, true)}>
      <Arrow sign={sign} />
      {points} points
      <small>
        {' '}
        from {shareText(failed.before, whole.before)} to {shareText(failed.now, whole.now)}
        {isCut && ', without today'}
      </small>
    </span>
  );
}
