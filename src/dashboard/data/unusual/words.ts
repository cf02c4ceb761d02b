import { namedDay } from '../calendar/date-text.ts';
import { addDays, type Day, type Range } from '../calendar/days.ts';
import type { Finding } from './findings.ts';
import { rateText, shortName, wholeText } from '../format.ts';
import { weeks, type History } from './history.ts';
import { judgeCount, judgeRate, type Verdict } from './unusual.ts';

/** A finding in words: what it is about, and the numbers. */
export interface Statement {
  readonly what: string;
  readonly numbers: string;
  /** The types that it comes from, each with the share of its own events; empty if none stands out. */
  readonly causes: string;
}

/**
 * `“erasure failed”:`, `3.0% of all events since Mon 2 Nov, usually 0.8%`,
 * `SSD 8.9% of its events, usually 0.9%; hard drive 5.1%, usually 0.8%`.
 * @param isOfChosenTypes whether only events of chosen types are judged
 */
export function statementOf(finding: Finding, isOfChosenTypes: boolean): Statement {
  const { measure, value, usual, type, types } = finding;
  const isOneDay = finding.range.from === finding.range.to;
  const isRate = measure === 'failures';
  const perDay = isOneDay ? '' : ' a day';
  const all = isOfChosenTypes ? 'the events of these types' : 'all events';
  const whole = type === undefined ? all : 'its events';
  const now = isRate
    ? `${rateText(value)} of ${whole}`
    : `${wholeText(Math.round(value))}${perDay}`;
  const then = isRate ? rateText(usual) : wholeText(Math.round(usual));
  const split = types.map(
    (each, index) =>
      `${shortName(each.name)} ${rateText(each.value)}${index === 0 ? ' of its events' : ''}, usually ${rateText(each.usual)}`,
  );
  return {
    what: `${whatOf(finding)}:`,
    numbers: `${now} ${whenOf(finding)}, usually ${then}`,
    causes: split.join('; '),
  };
}

function whatOf({ measure, type, state }: Finding): string {
  const of = type === undefined ? '' : shortName(type);
  if (state !== undefined) return `${measure === 'events' ? 'Events ' : ''}“${shortName(state)}”`;
  if (measure === 'events') return of === '' ? 'Events' : `Events of ${of}`;
  return of === '' ? 'Failures' : `Failures of ${of}`;
}

function whenOf({ range: { from, to }, isOngoing }: Finding): string {
  if (isOngoing && from !== to) return `since ${namedDay(from)}`;
  return from === to ? `on ${namedDay(from)}` : `from ${namedDay(from)} to ${namedDay(to)}`;
}

/** A day compared with the same weekdays before. */
export interface DaySummary {
  readonly day: Day;
  readonly events: Verdict;
  readonly failures: Verdict;
}

/** Undefined if the day is not among those that are judged. */
export function summaryOf({ window, all, first }: History, day: Day): DaySummary | undefined {
  const from = addDays(window.from, 7 * weeks);
  if (day < from || day > window.to) return undefined;
  const index = Math.round((Date.parse(day) - Date.parse(window.from)) / 86_400_000);
  return {
    day,
    events: judgeCount(all.events, index, first),
    failures: judgeRate(all.failed, all.events, index, first),
  };
}

/** `548 events, usually 530; failures of any kind 2.2%, usually 1.5%`. */
export function summaryText({ events, failures }: DaySummary, isOver: boolean): string {
  const usually = (verdict: Verdict, text: string) =>
    verdict.kind === 'unknown' ? '' : `, usually ${text}`;
  const whole = isOver ? '' : ' on a whole day';
  const count = wholeText(Math.round(events.median));
  const parts = [
    `${wholeText(events.value)} ${events.value === 1 ? 'event' : 'events'}${usually(events, `${count}${whole}`)}`,
    ...(events.value === 0
      ? []
      : [
          `failures of any kind ${rateText(failures.value)}${usually(failures, rateText(failures.median))}`,
        ]),
  ];
  return parts.join('; ');
}

/** The latest day of a range that is over, and today if the range includes it. */
export function daysInReview(range: Range, today: Day): { over: Day | undefined; soFar: boolean } {
  const yesterday = addDays(today, -1);
  const over = range.to < today ? range.to : yesterday;
  return {
    over: over < range.from ? undefined : over,
    soFar: range.from <= today && range.to >= today,
  };
}
