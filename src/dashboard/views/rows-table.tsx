import { useEffect, useMemo, useState } from 'preact/hooks';

import { colourOfFailures } from '../data/colours.ts';
import { totalOf } from '../data/counts.ts';
import { longDay } from '../data/calendar/date-text.ts';
import { shareText, wholeText } from '../data/format.ts';
import {
  byteOrderMark,
  csvOf,
  matching,
  sorted,
  usualSort,
  type TableRow,
} from '../data/table-rows.ts';
import { columns as allColumns, statsQuery, type Column, type View } from '../data/view.ts';
import { failingOf, rowsMax, type Snapshot } from '../state/load.ts';
import type { Store } from '../state/store.ts';
import { Arrow } from './arrow.tsx';
import { Bar } from './charts/bar.tsx';
import { NameButton } from './charts/name-button.tsx';
import { save } from './save.ts';
import { Segments } from './segments.tsx';

const pageRows = 25;
const rowChoices = [
  ['range', 'Whole period'],
  ['day', 'Day by day'],
] as const;
const titles = { date: 'Date', type: 'Type', state: 'State', count: 'Count' };

interface RowsTableProps {
  store: Store;
  view: View;
  snapshot: Snapshot;
}

export function RowsTable({ store, view, snapshot }: RowsTableProps) {
  const isByDay = view.rows === 'day' && snapshot.rows !== undefined;
  const rows = (isByDay ? snapshot.rows : undefined) ?? snapshot.pairs;
  const columns = isByDay ? allColumns : allColumns.slice(1);
  const found = useMemo(() => matching(rows, view.text), [rows, view.text]);
  const ordered = useMemo(() => sorted(found, view.sort), [found, view.sort]);
  const [page, setPage] = useState(0);
  useEffect(() => setPage(0), [view.text, view.sort, view.rows, view.range]);
  const pages = Math.max(1, Math.ceil(ordered.length / pageRows));
  const at = Math.min(page, pages - 1);
  const turnTo = (wanted: number) => setPage(Math.max(0, Math.min(wanted, pages - 1)));
  const { from, to } = snapshot.range;
  const name = `counts-${from}${from === to ? '' : `-to-${to}`}.csv`;
  return (
    <section class="card counts" aria-labelledby="rows-title">
      <div class="card-head">
        <h2 id="rows-title">Counts</h2>
        <div class="table-tools">
          <Segments
            label="Rows"
            choices={rowChoices}
            chosen={isByDay ? 'day' : 'range'}
            disabled={snapshot.rows === undefined ? 'day' : undefined}
            onChoose={(rows) => store.show({ rows })}
          />
          <input
            type="search"
            aria-label="Filter the rows"
            placeholder="Filter the rows"
            value={view.text}
            onInput={({ currentTarget }) => store.show({ text: currentTarget.value }, true)}
          />
          <button
            type="button"
            onClick={() => save(name, new Blob([byteOrderMark, csvOf(ordered, columns)]))}
          >
            Download CSV
          </button>
        </div>
      </div>
      {snapshot.rows === undefined && (
        <TooMany
          store={store}
          path={`${statsQuery(snapshot.range, view)}&format=csv&bom=1`}
          name={name}
        />
      )}
      <table class="rows">
        <thead>
          <tr>
            {columns.map((column) => (
              <Heading store={store} shown={view.sort ?? usualSort(columns)} column={column} />
            ))}
            <th scope="col" class="share">
              Share of total
            </th>
          </tr>
        </thead>
        <Body
          store={store}
          view={view}
          rows={ordered.slice(at * pageRows, (at + 1) * pageRows)}
          all={ordered}
          columns={columns}
        />
      </table>
      <div class="pager">
        <span role="status">
          {ordered.length === 0
            ? 'No row contains this text.'
            : `${wholeText(at * pageRows + 1)}–${wholeText(Math.min((at + 1) * pageRows, ordered.length))} of ${wholeText(ordered.length)}`}
        </span>
        <button type="button" aria-disabled={at === 0} onClick={() => turnTo(at - 1)}>
          Previous
        </button>
        <button type="button" aria-disabled={at >= pages - 1} onClick={() => turnTo(at + 1)}>
          Next
        </button>
      </div>
    </section>
  );
}

interface BodyProps {
  store: Store;
  view: View;
  /** The rows of the page. */
  rows: readonly TableRow[];
  /** The rows of all pages: shares are of their total. */
  all: readonly TableRow[];
  columns: readonly Column[];
}

function Body({ store, view, rows, all, columns }: BodyProps) {
  const [total, largest] = useMemo(
    () => [totalOf(all), all.reduce((most, { count }) => Math.max(most, count), 0)],
    [all],
  );
  const isFailing = failingOf(view);
  return (
    <>
      <tbody>
        {rows.map((row) => (
          <tr class={isFailing(row.state) ? 'failing' : ''}>
            {columns.map((column) => (
              <td class={column}>
                <Cell store={store} row={row} column={column} />
              </td>
            ))}
            <td class="share">
              <div>
                <Bar
                  share={row.count / largest}
                  colour={isFailing(row.state) ? colourOfFailures : 'var(--heat)'}
                />
                {shareText(row.count, total)}
              </div>
            </td>
          </tr>
        ))}
      </tbody>
      {all.length > 0 && (
        <tfoot>
          <tr>
            <th scope="row" colSpan={columns.length - 1}>
              Total of {wholeText(all.length)} {all.length === 1 ? 'row' : 'rows'}
            </th>
            <td class="count">{wholeText(total)}</td>
            <td class="share" />
          </tr>
        </tfoot>
      )}
    </>
  );
}

/** A date or a name filters to itself. */
function Cell({ store, row, column }: { store: Store; row: TableRow; column: Column }) {
  const { date = '', type, state, count } = row;
  if (column === 'count') return <>{wholeText(count)}</>;
  if (column === 'date') {
    return (
      <button
        type="button"
        class="name"
        title="Show only this day"
        onClick={() => store.show({ range: { from: date, to: date } })}
      >
        {longDay(date)}
      </button>
    );
  }
  const show = () => store.show(column === 'type' ? { types: [type] } : { states: [state] });
  return <NameButton name={row[column]} onClick={show} />;
}

interface HeadingProps {
  store: Store;
  /** The chosen order, or the usual one. */
  shown: NonNullable<View['sort']>;
  column: Column;
}

function Heading({ store, shown, column }: HeadingProps) {
  const own = shown.column === column ? shown : undefined;
  const first = column === 'count' || column === 'date';
  const next = own === undefined ? first : own.isDescending === first ? !first : undefined;
  return (
    <th
      scope="col"
      class={column}
      aria-sort={own === undefined ? 'none' : own.isDescending ? 'descending' : 'ascending'}
    >
      <button
        type="button"
        onClick={() =>
          store.show({ sort: next === undefined ? undefined : { column, isDescending: next } })
        }
      >
        {titles[column]}
        <Arrow sign={own === undefined ? 0 : own.isDescending ? -1 : 1} />
      </button>
    </th>
  );
}

/** Offers a download of the CSV from the server if there are too many rows for the page. */
function TooMany({ store, path, name }: { store: Store; path: string; name: string }) {
  const [said, setSaid] = useState('');
  const download = async () => {
    setSaid('Loading …');
    try {
      save(name, await store.api.blob(path, new AbortController().signal));
      setSaid('');
    } catch (error) {
      setSaid(error instanceof Error ? error.message : String(error));
    }
  };
  return (
    <p class="hint">
      There may be more than {wholeText(rowsMax)} rows by day: choose fewer days or names, or{' '}
      <button type="button" class="quiet" onClick={() => void download()}>
        download them all
      </button>
      . <span role="status">{said}</span>
    </p>
  );
}
