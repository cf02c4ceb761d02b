import { rangeText } from '../../data/calendar/date-text.ts';
import { compactText, shareText } from '../../data/format.ts';
import { hasRoomFor, type View } from '../../data/view.ts';
import type { Store } from '../../state/store.ts';
import { partTexts } from './bucket-text.ts';
import type { Content } from './counts-chart.tsx';
import { Swatch } from './swatch.tsx';

interface LegendProps {
  store: Store;
  view: View;
  total: number;
  content: Content;
}

/** The series with their sums; a name filters to it. */
export function CountsLegend({ store, view, total, content }: LegendProps) {
  const field = view.split === 'type' ? 'types' : 'states';
  return (
    <ul class="legend">
      {content.series.map(({ name, title, colour, sum }) => {
        const text = (
          <>
            <Swatch colour={colour} />
            <bdi title={name}>{title}</bdi>
            <b>{compactText(sum)}</b>
            <small>{shareText(sum, total)}</small>
          </>
        );
        const isFree = name !== undefined && hasRoomFor(name, { types: [], states: [] }, field);
        return (
          <li key={name ?? title}>
            {isFree && view[field].join() !== name ? (
              <button
                type="button"
                title={`Show only ${name}`}
                onClick={() => store.show({ [field]: [name] })}
              >
                {text}
              </button>
            ) : (
              <span>{text}</span>
            )}
          </li>
        );
      })}
      {content.before !== undefined && (
        <li class="rule">
          <svg class="dashes" viewBox="0 0 20 10" aria-hidden="true">
            <path d="M0 5h20" />
          </svg>
          {rangeText(content.before.range)}
        </li>
      )}
      <li class="rule">% of the events shown</li>
      {partTexts(content).map((text) => (
        <li class="rule">{text}</li>
      ))}
      {content.totals.includes(0) && <li class="rule">No bar: no events in that {content.unit}</li>}
    </ul>
  );
}
