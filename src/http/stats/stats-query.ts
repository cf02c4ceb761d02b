import { nameError } from '../../domain/device-event.ts';
import type { Problem, ProblemCode } from '../../domain/problem.ts';
import { daysInRange, isCalendarDate, type CalendarDate } from '../../domain/timestamp.ts';
import type { StatsRequest } from '../../pipeline/stats/stats.ts';
import {
  dimensions,
  isStatsFormat,
  statsFormats,
  type Dimension,
  type StatsFormat,
} from '../../pipeline/stats/formats.ts';

export const rangeDaysMax = 366;
export const filterValuesMax = 100;

export const statsParameters = [
  'date',
  'from',
  'to',
  'type',
  'state',
  'group_by',
  'format',
  'bom',
] as const;

type Reading<T> = { readonly value: T } | { readonly problem: Problem };

/**
 * The parameters of a query, `?…` or empty. Invalid UTF-8 is refused: URLSearchParams would read it
 * as U+FFFD and filter by another name.
 */
export function readParameters(search: string): Reading<URLSearchParams> {
  try {
    decodeURIComponent(search);
  } catch (error) {
    if (!(error instanceof URIError)) throw error;
    return refuse(
      'invalid_filter',
      'The query must be percent-encoded UTF-8: two hexadecimal digits follow each %.',
    );
  }
  return { value: new URLSearchParams(search) };
}

/** Reads the parameters of `/stats`. `preferred` is the format if there is no `format`. */
export function readStatsRequest(
  parameters: URLSearchParams,
  preferred: StatsFormat,
): Reading<StatsRequest> {
  const unknown = unknownParameter(parameters, statsParameters);
  if (unknown !== undefined) return refuse('unknown_parameter', unknown);
  const range = readRange(parameters);
  if ('problem' in range) return range;
  const groupBy = readGroupBy(parameters);
  if ('problem' in groupBy) return groupBy;
  const types = parameters.getAll('type');
  const states = parameters.getAll('state');
  const filter = filterProblem('type', types) ?? filterProblem('state', states);
  if (filter !== undefined) return refuse('invalid_filter', filter);
  const [format = preferred, secondFormat] = parameters.getAll('format');
  if (!isStatsFormat(format) || secondFormat !== undefined) {
    return refuse('invalid_format', `format must be one of ${statsFormats.join(', ')}.`);
  }
  const [bom = '0', secondBom] = parameters.getAll('bom');
  if (!/^[01]$/.test(bom) || secondBom !== undefined) {
    return refuse('invalid_format', 'bom must be 0, or 1 for a byte order mark before CSV.');
  }
  const hasByteOrderMark = bom === '1';
  if (hasByteOrderMark && format !== 'csv') {
    return refuse('invalid_format', 'bom=1 requires format=csv.');
  }
  const query = { ...range.value, types, states };
  return {
    value: { query, groupBy: groupBy.value, format, ...(hasByteOrderMark && { hasByteOrderMark }) },
  };
}

/** Reads the date of `/stats-html`. */
export function readPageDate(parameters: URLSearchParams): Reading<CalendarDate> {
  const unknown = unknownParameter(parameters, ['date']);
  return unknown === undefined ? readDate(parameters) : refuse('unknown_parameter', unknown);
}

function readDate(parameters: URLSearchParams): Reading<CalendarDate> {
  const [date, second] = parameters.getAll('date');
  if (date === undefined) {
    return refuse('missing_date', 'Specify a date: ?date=YYYY-MM-DD.');
  }
  if (second !== undefined || !isCalendarDate(date)) return invalidDate('date');
  return { value: date };
}

/** Unknown parameters are refused, because a misspelt filter would not filter. */
function unknownParameter(
  parameters: URLSearchParams,
  known: readonly string[],
): string | undefined {
  const unknown = [...parameters.keys()].find((name) => !known.includes(name));
  if (unknown === undefined) return undefined;
  return `Unknown parameter ${quoted(unknown)}; the parameters are ${known.join(', ')}.`;
}

function filterProblem(field: 'type' | 'state', values: readonly string[]): string | undefined {
  if (values.length > filterValuesMax)
    return `Specify at most ${filterValuesMax} values of ${field}.`;
  for (const value of values) {
    const error = nameError(field, value);
    if (error === undefined) continue;
    return `Invalid ${field} ${quoted(value)}: ${error.message}. Omit the parameter to get all.`;
  }
  return undefined;
}

/** The beginning of an untrusted text, quoted. */
function quoted(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text);
}

function readRange(parameters: URLSearchParams): Reading<{ from: CalendarDate; to: CalendarDate }> {
  const [from, secondFrom] = parameters.getAll('from');
  const [to, secondTo] = parameters.getAll('to');
  if (from === undefined && to === undefined) {
    const date = readDate(parameters);
    if (!('problem' in date)) return { value: { from: date.value, to: date.value } };
    if (date.problem.code !== 'missing_date') return date;
    return refuse('missing_date', 'Specify a date, ?date=YYYY-MM-DD, or a range, ?from=…&to=….');
  }
  if (parameters.has('date'))
    return refuse('invalid_range', 'Specify a date or a range, not both.');
  if (from === undefined || to === undefined) {
    return refuse('invalid_range', 'A range needs both ends: ?from=YYYY-MM-DD&to=YYYY-MM-DD.');
  }
  if (secondFrom !== undefined || !isCalendarDate(from)) return invalidDate('from');
  if (secondTo !== undefined || !isCalendarDate(to)) return invalidDate('to');
  const days = daysInRange(from, to);
  if (days < 1)
    return refuse('invalid_range', `The range ends (${to}) before it starts (${from}).`);
  if (days > rangeDaysMax) {
    return refuse(
      'invalid_range',
      `The range has ${days} days; at most ${rangeDaysMax} are allowed.`,
    );
  }
  return { value: { from, to } };
}

function readGroupBy(parameters: URLSearchParams): Reading<readonly Dimension[] | undefined> {
  if (!parameters.has('group_by')) return { value: undefined };
  const names = parameters.getAll('group_by').flatMap((list) => list.split(','));
  const groupBy = new Set<Dimension>();
  for (const name of names) {
    const dimension = dimensions.find((known) => known === name);
    if (dimension === undefined) {
      return refuse(
        'invalid_group_by',
        `group_by must be one or more of ${dimensions.join(', ')}.`,
      );
    }
    groupBy.add(dimension);
  }
  return { value: dimensions.filter((dimension) => groupBy.has(dimension)) };
}

function invalidDate(parameter: string) {
  const detail = `${parameter} must be a single calendar date, written as YYYY-MM-DD.`;
  return refuse('invalid_date', detail);
}

function refuse(code: ProblemCode, detail: string): { readonly problem: Problem } {
  return { problem: { code, detail } };
}
