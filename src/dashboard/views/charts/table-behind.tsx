import { useState } from 'preact/hooks';

import type { Bucket } from '../../data/calendar/buckets.ts';
import { rangeText } from '../../data/calendar/date-text.ts';

interface TableProps {
  caption: string;
  head: readonly string[];
  buckets: readonly Bucket[];
  cellsOf: (index: number) => readonly string[];
}

/** The values of a chart as a table, with a row for each bucket. */
export function TableBehind({ caption, head, buckets, cellsOf }: TableProps) {
  const [isOpen, setIsOpen] = useState(false);
  return (
    <details class="behind" onToggle={({ currentTarget }) => setIsOpen(currentTarget.open)}>
      <summary>Show as a table</summary>
      {isOpen && (
        <div class="scroll" tabIndex={0} role="region" aria-label={caption}>
          <table>
            <caption class="unseen">{caption}</caption>
            <thead>
              <tr>
                {head.map((name) => (
                  <th scope="col">
                    <bdi>{name}</bdi>
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {buckets.map((bucket, index) => (
                <tr>
                  <th scope="row">{rangeText(bucket)}</th>
                  {cellsOf(index).map((text) => (
                    <td>{text}</td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
    </details>
  );
}
