import { units, type Unit } from './calendar/buckets.ts';
import { countDays, isDay, rangeDaysMax, type Range } from './calendar/days.ts';
import { shortName } from './format.ts';
import { heatModes, type HeatMode } from './heat-map.ts';
import { presetRange, presets, type PresetDays, type PresetName } from './calendar/periods.ts';

export const columns = ['date', 'type', 'state', 'count'] as const;
export type Column = (typeof columns)[number];
export type Split = 'type' | 'state';

/** What the page shows. The query of the URL encodes it. */
export interface View {
  /** A preset, relative to `PresetDays`, or two days. */
  readonly range: { readonly preset: PresetName } | Range;
  readonly types: readonly string[];
  readonly states: readonly string[];
  readonly split: Split;
  readonly sort: { readonly column: Column; readonly isDescending: boolean } | undefined;
  /** The text filter of the table. */
  readonly text: string;
  /** Whether the table has one row per day, or one for the range. */
  readonly rows: 'day' | 'range';
  readonly isLive: boolean;
  /** The unit of a bar in the charts; undefined: the one that suits the range. */
  readonly unit: Unit | undefined;
  /** Whether the chart also shows the days before. */
  readonly hasBefore: boolean;
  /**
   * The content of the heat map's cells; undefined: failure rates if the first finding is about
   * one.
   */
  readonly heat: HeatMode | undefined;
  /** A state that contains one of these texts is a failure, ignoring case. */
  readonly failureWords: readonly string[];
}

export const defaultView: View = {
  range: { preset: '30' },
  types: [],
  states: [],
  split: 'state',
  sort: undefined,
  text: '',
  rows: 'range',
  isLive: false,
  unit: undefined,
  hasBefore: false,
  heat: undefined,
  failureWords: ['fail'],
};

/** The limit of `/stats`. */
export const filterValuesMax = 100;
const nameBytesMax = 128;
/** The maximum length of the filters in a URL, because servers limit the head of a request. */
const filterCharactersMax = 6_000;

/** Parses a query. Invalid parameters are ignored. */
export function readView(search: string): View {
  const query = new URLSearchParams(search);
  const fail = query.get('fail');
  return {
    range: readRange(query),
    ...readFilters(query),
    split: query.get('split') === 'type' ? 'type' : 'state',
    sort: readSort(query.get('sort')),
    text: query.get('q') ?? '',
    rows: query.get('rows') === 'day' ? 'day' : 'range',
    isLive: query.get('live') === '1',
    unit: units.find((name) => name === query.get('unit')),
    hasBefore: query.get('before') === '1',
    heat: heatModes.find(([name]) => name === query.get('heat'))?.[0],
    failureWords: fail === null ? defaultView.failureWords : wordsOf(fail),
  };
}

export type Filters = Pick<View, 'types' | 'states'>;

function readFilters(query: URLSearchParams): Filters {
  let filters: Filters = { types: [], states: [] };
  for (const field of ['types', 'states'] as const) {
    for (const name of query.getAll(field === 'types' ? 'type' : 'state')) {
      if (isName(name) && hasRoomFor(name, filters, field)) {
        filters = { ...filters, [field]: [...filters[field], name] };
      }
    }
  }
  return filters;
}

const edgeWhiteSpace = /^\p{White_Space}|\p{White_Space}$/u;

/** Whether the text is a valid type or state; `/stats` refuses any other. */
export function isName(text: string): boolean {
  return (
    text !== '' &&
    text.isWellFormed() &&
    new TextEncoder().encode(text).length <= nameBytesMax &&
    !Array.from(text).some((character) => character < ' ' || character === '\u007f') &&
    !edgeWhiteSpace.test(text)
  );
}

/** Whether the filters have room for one more name. */
export function hasRoomFor(name: string, filters: Filters, field: keyof Filters): boolean {
  const query = filterQuery(filters);
  query.append('type', name);
  return filters[field].length < filterValuesMax && query.toString().length <= filterCharactersMax;
}

function filterQuery({ types, states }: Filters, init?: Record<string, string>): URLSearchParams {
  const query = new URLSearchParams(init);
  for (const type of types) query.append('type', type);
  for (const state of states) query.append('state', state);
  return query;
}

function readRange(query: URLSearchParams): View['range'] {
  const [from, to] = [query.get('from') ?? '', query.get('to') ?? ''];
  if (isSoundRange({ from, to })) return { from, to };
  const preset = presets.find(({ name }) => name === query.get('range'));
  return preset === undefined ? defaultView.range : { preset: preset.name };
}

export function isSoundRange(range: Range): boolean {
  if (!isDay(range.from) || !isDay(range.to)) return false;
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

/** The query with its question mark, without default values. */
export function writeView(view: View): string {
  const { range } = view;
  const isDefault = 'preset' in range && range.preset === '30';
  const days = 'preset' in range ? { range: range.preset } : { from: range.from, to: range.to };
  const query = filterQuery(view, isDefault ? {} : days);
  if (view.split !== 'state') query.set('split', view.split);
  if (view.sort !== undefined) {
    query.set('sort', `${view.sort.isDescending ? '-' : ''}${view.sort.column}`);
  }
  if (view.text !== '') query.set('q', view.text);
  if (view.rows !== 'range') query.set('rows', view.rows);
  if (view.isLive) query.set('live', '1');
  if (view.unit !== undefined) query.set('unit', view.unit);
  if (view.hasBefore) query.set('before', '1');
  if (view.heat !== undefined) query.set('heat', view.heat);
  const fail = view.failureWords.join(',');
  if (fail !== defaultView.failureWords.join(',')) query.set('fail', fail);
  const text = query.toString();
  return text === '' ? '' : `?${text}`;
}

/** The filters of the view, as a part of a line; empty without filters. */
export function filtersText(filters: Filters): string {
  const text = (field: keyof Filters) => {
    const names = filters[field];
    const more = names.length > 3 ? ` and ${names.length - 2} more` : '';
    const shown = names.slice(0, more === '' ? 3 : 2).map(shortName);
    return names.length === 0 ? '' : `; ${field}: ${shown.join(', ')}${more}`;
  };
  return text('types') + text('states');
}

/** The days that a view shows. */
export function rangeOf({ range }: View, days: PresetDays): Range {
  return 'preset' in range ? presetRange(range.preset, days) : range;
}

/** The query of `/stats` for the view's days and filters, relative to the page. */
export function statsQuery({ from, to }: Range, filters: Filters, groupBy?: string): string {
  const query = filterQuery(filters, { from, to });
  if (groupBy !== undefined) query.set('group_by', groupBy);
  return `stats?${query.toString()}`;
}
