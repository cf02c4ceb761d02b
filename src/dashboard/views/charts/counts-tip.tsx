import { rangeText } from '../../data/calendar/date-text.ts';
import type { Day } from '../../data/calendar/days.ts';
import { shareText, shortName, wholeText } from '../../data/format.ts';
import { dayText, whyPart } from './bucket-text.ts';
import type { Content } from './counts-chart.tsx';
import { Swatch } from './swatch.tsx';

interface TipProps {
  content: Content;
  index: number;
  today: Day;
}

/** All series of a bucket, including those without events in it. */
export function CountsTip({ content, index, today }: TipProps) {
  const { unit, buckets, series, totals, before } = content;
  const bucket = buckets[index];
  if (bucket === undefined) return null;
  const total = totals[index] ?? 0;
  const earlier = before?.values[index];
  const part = whyPart(bucket, unit, today);
  return (
    <table>
      <caption>
        {dayText(bucket)}
        {part !== undefined && <small> {part}</small>}
      </caption>
      <tbody>
        {total > 0 &&
          series.map(({ colour, title, values }) => (
            <tr>
              <th scope="row">
                <Swatch colour={colour} /> <bdi>{shortName(title)}</bdi>
              </th>
              <td>{wholeText(values[index] ?? 0)}</td>
              <td>{shareText(values[index] ?? 0, total)}</td>
            </tr>
          ))}
        <tr class="total">
          <th scope="row">{total === 0 ? 'No events' : 'Total'}</th>
          <td>{wholeText(total)}</td>
          <td />
        </tr>
        {before !== undefined && (
          <tr>
            <th scope="row">
              {earlier === undefined
                ? `Not in ${rangeText(before.range)}`
                : dayText(before.daysAt(bucket))}
            </th>
            <td>{earlier === undefined ? '' : wholeText(earlier)}</td>
            <td />
          </tr>
        )}
      </tbody>
    </table>
  );
}
