import { namedDay } from '../calendar/date-text.ts';
import { addDays, countDays, type Day, type Range } from '../calendar/days.ts';
import { rateText, shortName, wholeText } from '../format.ts';
import { expectedOf, type Sample } from './chance.ts';
import type { Finding, NamedType } from './findings.ts';
import { week, type History } from './history.ts';
import { judgeNumbers, settling } from './runs.ts';
import { limitOf, numbersOf, type Measure } from './series.ts';

/** A finding in words: what it is about, and the numbers. */
export interface Statement {
  readonly what: string;
  readonly numbers: string;
  /** The types that it comes from, each with its own numbers; empty if none stands out. */
  readonly causes: string;
}

const namesMax = 4;

/**
 * `“erasure failed”:`, `3.0% of all events since Mon 2 Nov, usually 0.8%`,
 * `SSD 8.9% of its events, usually 0.9%; hard drive 5.1%, usually 0.8%`.
 * @param isOfChosenTypes whether only events of chosen types are judged
 */
export function statementOf(finding: Finding, isOfChosenTypes: boolean): Statement {
  const { measure, value, usual, type, isOfTypes } = finding;
  const isOneDay = finding.range.from === finding.range.to;
  const all = isOfChosenTypes ? 'the events of these types' : 'all events';
  const whole = isOfTypes ? 'their events' : type === undefined ? all : 'its events';
  const now =
    measure === 'failures'
      ? `${rateText(value)} of ${whole}`
      : `${countText(value)}${isOneDay ? '' : ' a day'}`;
  return {
    what: `${whatOf(finding)}:`,
    numbers: `${now} ${whenOf(finding)}, ${usualText(measure, usual)}${finding.isSoFar && measure === 'events' ? ' on a whole day' : ''}`,
    causes: causesOf(finding, isOneDay),
  };
}

const countText = (value: number) => wholeText(Math.round(value));

function usualText(measure: Measure, usual: number | undefined): string {
  if (usual === undefined) return 'a new type';
  if (usual === 0) return 'usually none';
  if (measure === 'failures') return `usually ${rateText(usual)}`;
  return `usually ${usual < 0.95 ? usual.toFixed(1) : countText(usual)}`;
}

function causesOf({ measure, types, isShared }: Finding, isOneDay: boolean): string {
  const unit = measure === 'failures' ? ' of its events' : isOneDay ? '' : ' a day';
  const textOf = ({ name, value, usual }: NamedType, index: number) => {
    const now = measure === 'failures' ? rateText(value) : countText(value);
    return `${shortName(name)} ${now}${index === 0 ? unit : ''}, ${usualText(measure, usual)}`;
  };
  const named = types.slice(0, namesMax).sort((a, b) => b.value - a.value);
  const more = types.length - named.length;
  const rest = more > 0 ? [`and ${more} more`] : isShared && more === 0 ? ['and others'] : [];
  return named.length === 0 ? '' : [...named.map(textOf), ...rest].join('; ');
}

function whatOf({ measure, type, types, isOfTypes, state }: Finding): string {
  const name = isOfTypes ? `${types.length} types` : type && shortName(type);
  const of = name === undefined ? '' : ` of ${name}`;
  if (state !== undefined)
    return `${measure === 'events' ? 'Events ' : ''}“${shortName(state)}”${of}`;
  return `${measure === 'events' ? 'Events' : 'Failures'}${of}`;
}

function whenOf({ range: { from, to }, isOngoing, isOpen, isSoFar }: Finding): string {
  if (isSoFar) return `on ${namedDay(from)} so far`;
  if (from === to) return `on ${namedDay(from)}`;
  if (isOpen) return `from ${namedDay(from)} on`;
  return isOngoing ? `since ${namedDay(from)}` : `from ${namedDay(from)} to ${namedDay(to)}`;
}

/** A number of a day, and that of the same weekdays before; undefined if there are too few. */
interface DayNumber {
  readonly value: number;
  readonly usual: number | undefined;
}

/** A day compared with the same weekdays before. */
interface DaySummary {
  readonly events: DayNumber;
  /** The share of events that failed, 0 to 1. */
  readonly failures: DayNumber;
}

/** Undefined if the day is not in the history. */
export function summaryOf(history: History, day: Day): DaySummary | undefined {
  const { window, all } = history;
  if (day < window.from || day > window.to) return undefined;
  const at = countDays({ from: window.from, to: day }) - 1;
  const [count, failed] = [all.events[at] ?? 0, all.failed[at] ?? 0];
  const usualOf = (measure: Measure) => {
    const sample = sampleOf(history, measure, at);
    return sample && expectedOf(sample) / sample.size;
  };
  return {
    events: { value: count, usual: usualOf('events') },
    failures: { value: count === 0 ? 0 : failed / count, usual: usualOf('failures') },
  };
}

function sampleOf(history: History, measure: Measure, day: number): Sample | undefined {
  const subject = { measure, type: undefined, state: undefined };
  const numbers = numbersOf(history, subject);
  const span = { first: history.first, last: day };
  const { comparer, runs } = judgeNumbers(numbers, span, history.first, limitOf(subject, day));
  // An unusual day, and the day after a run, are compared with the weeks before the run.
  const run = runs.find((each) => {
    const { first, last } = settling(each);
    return first <= day && day <= last + 1;
  });
  const at = run === undefined ? day : run.first + ((day - run.first) % week);
  return comparer.sampleOf({ first: at, last: at });
}

/** `548 events, usually 530; failures of any kind 2.2%, usually 1.5%`. */
export function summaryText({ events, failures }: DaySummary, isOver: boolean): string {
  const usually = (measure: Measure, { usual }: DayNumber, unit: string) =>
    usual === undefined ? '' : `, ${usualText(measure, usual)}${unit}`;
  const unit = isOver ? '' : ' on a whole day';
  const parts = [
    `${wholeText(events.value)} ${events.value === 1 ? 'event' : 'events'}${usually('events', events, unit)}`,
    ...(events.value === 0
      ? []
      : [`failures of any kind ${rateText(failures.value)}${usually('failures', failures, '')}`]),
  ];
  return parts.join('; ');
}

/** The latest complete day that is not after a range, and today if the range includes it. */
export function daysInReview(range: Range, today: Day): { over: Day; soFar: boolean } {
  const yesterday = addDays(today, -1);
  return {
    over: range.to < today ? range.to : yesterday,
    soFar: range.from <= today && range.to >= today,
  };
}
