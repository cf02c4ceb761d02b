import { useState } from 'preact/hooks';

import { hasRoomFor, type View } from '../../data/view.ts';
import type { Store } from '../../state/store.ts';
import { useClosing } from '../closing.ts';

const offeredMax = 100;

interface FilterProps {
  store: Store;
  view: View;
  field: 'types' | 'states';
  label: string;
  names: readonly string[] | undefined;
}

export function Filter({ store, view, field, label, names = [] }: FilterProps) {
  const chosen = view[field];
  const choose = (choice: readonly string[]) => store.show({ [field]: choice });
  const [text, setText] = useState('');
  const [first, setFirst] = useState(chosen);
  const closing = useClosing();
  const wanted = text.trim().toLowerCase();
  const found = names.filter(
    (name) => !first.includes(name) && name.toLowerCase().includes(wanted),
  );
  const offered = found.slice(0, offeredMax);
  const hidden = chosen.filter((name) => !first.includes(name) && !offered.includes(name));
  const option = (name: string) => {
    const isChosen = chosen.includes(name);
    return (
      <label key={name}>
        <input
          type="checkbox"
          checked={isChosen}
          disabled={!isChosen && !hasRoomFor(name, view, field)}
          onChange={() =>
            choose(isChosen ? chosen.filter((other) => other !== name) : [...chosen, name])
          }
        />
        <bdi>{name}</bdi>
      </label>
    );
  };
  return (
    <details
      class="filter"
      {...closing}
      // Chosen names come first; the order does not change while the list is open.
      onToggle={({ currentTarget }) => {
        setFirst(chosen);
        keepInside(currentTarget);
      }}
    >
      <summary>
        {label}
        {chosen.length > 0 && <b>{chosen.length === 1 ? <bdi>{chosen[0]}</bdi> : chosen.length}</b>}
      </summary>
      <div class="choices">
        <input
          type="search"
          aria-label={`Find a ${label.toLowerCase()}`}
          placeholder={`Find a ${label.toLowerCase()}`}
          value={text}
          onInput={({ currentTarget }) => setText(currentTarget.value)}
        />
        <fieldset>
          <legend class="unseen">{label}</legend>
          {[...first, ...hidden, ...offered].map(option)}
        </fieldset>
        {found.length > offeredMax && (
          <p class="hint">{found.length - offeredMax} more: type a part of the name.</p>
        )}
        {chosen.length > 0 && (
          <button
            type="button"
            class="quiet"
            onClick={() => {
              // The button disappears together with the choice that it clears.
              closing.ref.current?.querySelector('summary')?.focus();
              choose([]);
            }}
          >
            Show all
          </button>
        )}
      </div>
    </details>
  );
}

/** Moves the popup to the left if it would be wider than the page. */
function keepInside(details: HTMLElement): void {
  const popup = details.querySelector<HTMLElement>('.choices');
  const page = details.parentElement?.getBoundingClientRect();
  if (popup === null || page === undefined) return;
  popup.style.left = '';
  const over = popup.getBoundingClientRect().right - page.right;
  if (over > 0) popup.style.left = `${-over}px`;
}
