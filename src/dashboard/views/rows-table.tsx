import { useEffect, useMemo, useState } from 'preact/hooks';

import { wholeText } from '../data/format.ts';
import { rowsMax, type Snapshot } from '../data/load.ts';
import { Segments } from './segments.tsx';
import type { Store } from '../data/store.ts';
import { byteOrderMark, csvOf, matching, sorted } from '../data/table-rows.ts';
import { columns as allColumns, statsQuery, type Column, type View } from '../data/view.ts';

const pageRows = 25;
const rowChoices = [
  ['day', 'Each day'],
  ['range', 'All days'],
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
    <section class="card" aria-labelledby="rows-title">
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
      <div class="scroll" tabIndex={0} role="region" aria-label="Rows of counts">
        <table class="rows">
          <thead>
            <tr>
              {columns.map((column) => (
                <Heading store={store} view={view} column={column} />
              ))}
            </tr>
          </thead>
          <tbody>
            {ordered.slice(at * pageRows, (at + 1) * pageRows).map((row) => (
              <tr>
                {columns.map((column) => (
                  <td class={column}>
                    {column === 'count' ? wholeText(row.count) : <bdi>{row[column]}</bdi>}
                  </td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      </div>
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

function Heading({ store, view, column }: { store: Store; view: View; column: Column }) {
  const own = view.sort?.column === column ? view.sort : undefined;
  const first = column === 'count';
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
        <span aria-hidden="true">{own === undefined ? '' : own.isDescending ? ' ↓' : ' ↑'}</span>
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
      The rows of each day may be more than {wholeText(rowsMax)}: choose fewer days or names to see
      them, or{' '}
      <button type="button" class="quiet" onClick={() => void download()}>
        download them all
      </button>
      . <span role="status">{said}</span>
    </p>
  );
}

function save(name: string, blob: Blob): void {
  const link = document.createElement('a');
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
