import { rangeText } from '../../data/calendar/date-text.ts';
import { defaultView, type View } from '../../data/view.ts';
import type { Store } from '../../state/store.ts';

const namesMax = 12;

/** The filters of the view: each chip removes one of them. */
export function Chips({ store, view }: { store: Store; view: View }) {
  const { range, types, states } = view;
  const chosen = 'preset' in range ? undefined : range;
  if (types.length + states.length === 0 && chosen === undefined) return null;
  const names = (['types', 'states'] as const).flatMap((field) =>
    view[field].map((name) => ({ field, name })),
  );
  return (
    <ul class="chips" aria-label="Filters">
      {chosen !== undefined && (
        <Chip
          kind="Days"
          name={rangeText(chosen)}
          onRemove={() => store.show({ range: defaultView.range })}
        />
      )}
      {names.slice(0, namesMax).map(({ field, name }) => (
        <Chip
          key={`${field} ${name}`}
          kind={field === 'types' ? 'Type' : 'State'}
          name={name}
          onRemove={() => store.show({ [field]: view[field].filter((other) => other !== name) })}
        />
      ))}
      {names.length > namesMax && <li>{names.length - namesMax} more names</li>}
      <li>
        <button
          type="button"
          class="quiet"
          onClick={() => store.show({ types: [], states: [], range: defaultView.range })}
        >
          Remove all
        </button>
      </li>
    </ul>
  );
}

interface ChipProps {
  kind: string;
  name: string;
  onRemove: () => void;
}

function Chip({ kind, name, onRemove }: ChipProps) {
  return (
    <li>
      <button type="button" class="chip" title="Remove this filter" onClick={onRemove}>
        <span>{kind}</span> <bdi>{name}</bdi> <span aria-hidden="true">×</span>
        <span class="unseen">, remove</span>
      </button>
    </li>
  );
}
