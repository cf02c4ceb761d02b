import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { dayRuleText, latestToday, longDay, type Range } from '../data/days.ts';
import { Segments } from './segments.tsx';
import type { State, Store } from '../data/store.ts';
import { hasRoomFor, isSoundRange, presets, rangeOf, wordsOf, type View } from '../data/view.ts';

export function Controls({ store, state }: { store: Store; state: State }) {
  const { view, snapshot } = state;
  const failureId = useId();
  return (
    <section class="controls" aria-label="View settings">
      <Segments
        label="Days"
        choices={presets.map(({ name, label }) => [name, label] as const)}
        chosen={'preset' in view.range ? view.range.preset : undefined}
        onChoose={(preset) => store.show({ range: { preset } })}
      />
      <DayPickers store={store} chosen={view.range} range={rangeOf(view, state.days)} />
      <Filter store={store} view={view} field="types" label="Type" names={snapshot?.allTypes} />
      <Filter store={store} view={view} field="states" label="State" names={snapshot?.allStates} />
      <label class="field" for={failureId}>
        <span>Failures contain</span>
        <input
          id={failureId}
          type="text"
          size={8}
          value={view.failureWords.join(', ')}
          title="Words, with commas between: a state that contains one counts as a failure"
          onChange={({ currentTarget }) =>
            store.show({ failureWords: wordsOf(currentTarget.value) })
          }
        />
      </label>
      <button
        type="button"
        class="live"
        aria-pressed={view.isLive}
        onClick={() => store.show({ isLive: !view.isLive })}
      >
        <span class="dot" aria-hidden="true" />
        Live
      </button>
      <DayNote store={store} state={state} />
    </section>
  );
}

/** The day rule, and whether there are counts after the end of all presets. */
function DayNote({ store, state }: { store: Store; state: State }) {
  const { dayZone, latestDate: latest, now } = state;
  if (dayZone === undefined) return null;
  return (
    <p class="day-note">
      {dayRuleText(dayZone)}
      {latest !== undefined && latest > latestToday(now) && (
        <>
          . Some counts are dated in the future, up to{' '}
          <button
            type="button"
            class="quiet"
            onClick={() => store.show({ range: { from: latest, to: latest } })}
          >
            {longDay(latest)}
          </button>
        </>
      )}
    </p>
  );
}

interface DayPickersProps {
  store: Store;
  chosen: View['range'];
  range: Range;
}

function DayPickers({ store, chosen, range }: DayPickersProps) {
  const [draft, setDraft] = useState(range);
  // Choosing the same days again discards incomplete input.
  useEffect(() => setDraft(range), [chosen, range.from, range.to]);
  const change = (part: Partial<Range>) => {
    const next = { ...draft, ...part };
    setDraft(next);
    if (isSoundRange(next)) store.show({ range: next });
  };
  const isSound = isSoundRange(draft);
  const picker = (end: keyof Range, label: string) => (
    <input
      type="date"
      aria-label={label}
      aria-invalid={!isSound}
      value={draft[end]}
      onChange={({ currentTarget }) => change({ [end]: currentTarget.value })}
    />
  );
  return (
    <div class="days">
      {picker('from', 'From')}
      <span aria-hidden="true">–</span>
      {picker('to', 'To')}
      {!isSound && (
        <span class="hint" role="alert">
          From the first day to the last, at most 366 days
        </span>
      )}
    </div>
  );
}

const offeredMax = 100;

interface FilterProps {
  store: Store;
  view: View;
  field: 'types' | 'states';
  label: string;
  names: readonly string[] | undefined;
}

function Filter({ store, view, field, label, names = [] }: FilterProps) {
  const chosen = view[field];
  const choose = (choice: readonly string[]) => store.show({ [field]: choice });
  const [text, setText] = useState('');
  const [first, setFirst] = useState(chosen);
  const details = useRef<HTMLDetailsElement>(null);
  useEffect(() => {
    const close = ({ target }: Event) => {
      const element = details.current;
      if (element !== null && target instanceof Node && !element.contains(target)) {
        element.open = false;
      }
    };
    document.addEventListener('click', close);
    return () => document.removeEventListener('click', close);
  }, []);
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
      ref={details}
      // Chosen names come first; the order does not change while the list is open.
      onToggle={() => setFirst(chosen)}
      onKeyDown={({ key, currentTarget }) => {
        if (key !== 'Escape') return;
        currentTarget.open = false;
        currentTarget.querySelector('summary')?.focus();
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
              details.current?.querySelector('summary')?.focus();
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
