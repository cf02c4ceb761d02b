import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { dayRuleText, latestToday, longDay, type Range } from '../data/days.ts';
import type { State, Store } from '../data/store.ts';
import { hasRoomFor, isSoundRange, presets, rangeOf, wordsOf, type View } from '../data/view.ts';

export function Controls({ store, state }: { store: Store; state: State }) {
  const { view, snapshot } = state;
  const preset = 'preset' in view.range ? view.range.preset : undefined;
  const failureId = useId();
  return (
    <section class="controls" aria-label="View settings">
      <div class="segments" role="group" aria-label="Days">
        {presets.map(({ name, label }) => (
          <button
            type="button"
            aria-pressed={preset === name}
            onClick={() => store.show({ range: { preset: name } })}
          >
            {label}
          </button>
        ))}
      </div>
      <DayPickers
        chosen={view.range}
        range={rangeOf(view, state.days)}
        onRange={(range) => store.show({ range })}
      />
      <Filter
        label="Type"
        names={snapshot?.allTypes ?? []}
        chosen={view.types}
        hasRoom={(name) => hasRoomFor(name, view, 'types')}
        onChoose={(types) => store.show({ types })}
      />
      <Filter
        label="State"
        names={snapshot?.allStates ?? []}
        chosen={view.states}
        hasRoom={(name) => hasRoomFor(name, view, 'states')}
        onChoose={(states) => store.show({ states })}
      />
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

function DayPickers({
  chosen,
  range,
  onRange,
}: {
  chosen: View['range'];
  range: Range;
  onRange: (range: Range) => void;
}) {
  const [draft, setDraft] = useState(range);
  // Choosing the same days again discards incomplete input.
  useEffect(() => setDraft(range), [chosen, range.from, range.to]);
  const change = (part: Partial<Range>) => {
    const next = { ...draft, ...part };
    setDraft(next);
    if (isSoundRange(next)) onRange(next);
  };
  const isSound = isSoundRange(draft);
  return (
    <div class="days">
      <input
        type="date"
        aria-label="From"
        aria-invalid={!isSound}
        value={draft.from}
        onChange={({ currentTarget }) => change({ from: currentTarget.value })}
      />
      <span aria-hidden="true">–</span>
      <input
        type="date"
        aria-label="To"
        aria-invalid={!isSound}
        value={draft.to}
        onChange={({ currentTarget }) => change({ to: currentTarget.value })}
      />
      {!isSound && (
        <span class="hint" role="alert">
          From the first day to the last, at most 366 days
        </span>
      )}
    </div>
  );
}

const offeredMax = 100;

function Filter({
  label,
  names,
  chosen,
  hasRoom,
  onChoose,
}: {
  label: string;
  names: readonly string[];
  chosen: readonly string[];
  hasRoom: (name: string) => boolean;
  onChoose: (chosen: readonly string[]) => void;
}) {
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
  const toggle = (name: string, isChosen: boolean) =>
    onChoose(isChosen ? [...chosen, name] : chosen.filter((other) => other !== name));
  const option = (name: string) => {
    const isChosen = chosen.includes(name);
    return (
      <label key={name}>
        <input
          type="checkbox"
          checked={isChosen}
          disabled={!isChosen && !hasRoom(name)}
          onChange={() => toggle(name, !isChosen)}
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
              onChoose([]);
            }}
          >
            Show all
          </button>
        )}
      </div>
    </details>
  );
}
