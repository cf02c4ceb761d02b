import { addDays, countDays, isDay, rangeDaysMax, type Day, type Range } from './days.ts';

export const presets = [
  { name: 'today', label: 'Today', days: 1 },
  { name: '7', label: '7 days', days: 7 },
  { name: '30', label: '30 days', days: 30 },
  { name: '90', label: '90 days', days: 90 },
  { name: '365', label: 'Year', days: 365 },
] as const;
export type PresetName = (typeof presets)[number]['name'];

export const columns = ['date', 'type', 'state', 'count'] as const;
export type Column = (typeof columns)[number];
export type Split = 'type' | 'state';

/** All that the page shows can be told from this, and this from the URL's query. */
export interface View {
  /** A preset ends today, whenever that is; else the days that were named. */
  readonly range: { readonly preset: PresetName } | Range;
  readonly types: readonly string[];
  readonly states: readonly string[];
  readonly split: Split;
  readonly sort: { readonly column: Column; readonly isDescending: boolean } | undefined;
  /** What the table's rows must contain. */
  readonly text: string;
  /** Whether the table has a row for each day, or one for the range. */
  readonly rows: 'day' | 'range';
  readonly isLive: boolean;
  /** A state that contains one of these counts as a failure, in whatever case. */
  readonly failureWords: readonly string[];
}

export const defaultView: View = {
  range: { preset: '30' },
  types: [],
  states: [],
  split: 'state',
  sort: undefined,
  text: '',
  rows: 'day',
  isLive: false,
  failureWords: ['fail'],
};

/** `/stats` takes no more. */
export const filterValuesMax = 100;

/** What cannot be understood is taken as if it were not there. */
export function readView(search: string): View {
  const query = new URLSearchParams(search);
  const fail = query.get('fail');
  return {
    range: readRange(query),
    types: query.getAll('type').slice(0, filterValuesMax),
    states: query.getAll('state').slice(0, filterValuesMax),
    split: query.get('split') === 'type' ? 'type' : 'state',
    sort: readSort(query.get('sort')),
    text: query.get('q') ?? '',
    rows: query.get('rows') === 'range' ? 'range' : 'day',
    isLive: query.get('live') === '1',
    failureWords: fail === null ? defaultView.failureWords : wordsOf(fail),
  };
}

function readRange(query: URLSearchParams): View['range'] {
  const [from, to] = [query.get('from') ?? '', query.get('to') ?? ''];
  if (isDay(from) && isDay(to) && isSoundRange({ from, to })) return { from, to };
  const preset = presets.find(({ name }) => name === query.get('range'));
  return preset === undefined ? defaultView.range : { preset: preset.name };
}

export function isSoundRange(range: Range): boolean {
  const days = countDays(range);
  return days >= 1 && days <= rangeDaysMax;
}

function readSort(text: string | null): View['sort'] {
  const column = columns.find((name) => name === text?.replace(/^-/, ''));
  return column === undefined
    ? undefined
    : { column, isDescending: text?.startsWith('-') ?? false };
}

export function wordsOf(text: string): string[] {
  return text
    .split(',')
    .map((word) => word.trim())
    .filter((word) => word !== '');
}

/** The query with its question mark, without what is as by default. */
export function writeView(view: View): string {
  const query = new URLSearchParams();
  if (!('preset' in view.range)) {
    query.set('from', view.range.from);
    query.set('to', view.range.to);
  } else if (view.range.preset !== '30') query.set('range', view.range.preset);
  for (const type of view.types) query.append('type', type);
  for (const state of view.states) query.append('state', state);
  if (view.split !== 'state') query.set('split', view.split);
  if (view.sort !== undefined) {
    query.set('sort', `${view.sort.isDescending ? '-' : ''}${view.sort.column}`);
  }
  if (view.text !== '') query.set('q', view.text);
  if (view.rows !== 'day') query.set('rows', view.rows);
  if (view.isLive) query.set('live', '1');
  const fail = view.failureWords.join(',');
  if (fail !== defaultView.failureWords.join(',')) query.set('fail', fail);
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

export function rangeOf({ range }: View, today: Day): Range {
  if (!('preset' in range)) return range;
  const days = presets.find(({ name }) => name === range.preset)?.days ?? 30;
  return { from: addDays(today, 1 - days), to: today };
}

/** The query of `/stats` for the view's days and filters. */
export function statsQuery(
  range: Range,
  { types, states }: Pick<View, 'types' | 'states'>,
  groupBy?: string,
): string {
  const query = new URLSearchParams({ from: range.from, to: range.to });
  for (const type of types) query.append('type', type);
  for (const state of states) query.append('state', state);
  if (groupBy !== undefined) query.set('group_by', groupBy);
  return `/stats?${query.toString()}`;
}
