import { useId, useState } from 'preact/hooks';

import { longDay } from '../../data/calendar/date-text.ts';
import { dayRuleText, latestToday } from '../../data/calendar/days.ts';
import { presets, type PresetName } from '../../data/calendar/periods.ts';
import { rangeOf, wordsOf, writeView, type View } from '../../data/view.ts';
import type { State, Store } from '../../state/store.ts';
import { Segments } from '../segments.tsx';
import { Chips } from './chips.tsx';
import { DayPickers } from './day-pickers.tsx';
import { Filter } from './filter.tsx';

/** The first presets have buttons, the others are in a list. */
const buttonsMax = 5;
const buttons = presets.slice(0, buttonsMax).map(({ name, label }) => [name, label] as const);

export function Controls({ store, state }: { store: Store; state: State }) {
  const { view, snapshot } = state;
  const failureId = useId();
  return (
    <section class="controls" aria-label="View settings">
      <Segments
        label="Days"
        choices={buttons}
        chosen={'preset' in view.range ? view.range.preset : undefined}
        onChoose={(preset) => store.show({ range: { preset } })}
      />
      <MorePresets store={store} view={view} />
      <DayPickers store={store} chosen={view.range} range={rangeOf(view, state.days)} />
      <Filter store={store} view={view} field="types" label="Type" names={snapshot?.allTypes} />
      <Filter store={store} view={view} field="states" label="State" names={snapshot?.allStates} />
      <label class="field" for={failureId}>
        <span>Failing states contain</span>
        <input
          id={failureId}
          type="text"
          size={14}
          value={view.failureWords.join(', ')}
          title="Words, with commas between: a state that contains one counts as a failure"
          onChange={({ currentTarget }) =>
            store.show({ failureWords: wordsOf(currentTarget.value) })
          }
        />
      </label>
      <DayNote store={store} state={state} />
      <button
        type="button"
        class="live"
        title="Show new counts within seconds, without a reload"
        aria-pressed={view.isLive}
        onClick={() => store.show({ isLive: !view.isLive })}
      >
        <span class="dot" aria-hidden="true" />
        <span>
          Live updates <b aria-hidden="true">{view.isLive ? 'on' : 'off'}</b>
        </span>
      </button>
      <CopyLink view={{ ...view, range: rangeOf(view, state.days), isLive: false }} />
      <Chips store={store} view={view} />
    </section>
  );
}

/** The day rule, and whether there are counts after the end of all presets. */
function DayNote({ store, state }: { store: Store; state: State }) {
  const { dayZone, latestDate: latest, now } = state;
  if (dayZone === undefined) return <p class="day-note" />;
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

function MorePresets({ store, view: { range } }: { store: Store; view: View }) {
  const more = presets.slice(buttonsMax);
  const chosen =
    'preset' in range ? more.find(({ name }) => name === range.preset)?.name : undefined;
  return (
    <select
      aria-label="More days"
      value={chosen ?? ''}
      onChange={({ currentTarget }) =>
        store.show({ range: { preset: currentTarget.value as PresetName } })
      }
    >
      {chosen === undefined && <option value="">More …</option>}
      {more.map(({ name, label }) => (
        <option value={name}>{label}</option>
      ))}
    </select>
  );
}

/** Copies a link that will still show the same days tomorrow. */
function CopyLink({ view }: { view: View }) {
  const [said, setSaid] = useState('Copy link');
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(new URL(writeView(view), location.href).href);
      setSaid('Copied');
    } catch {
      // Without HTTPS, pages cannot use the clipboard.
      setSaid('Copy the address');
    }
    setTimeout(() => setSaid('Copy link'), 3000);
  };
  return (
    <button type="button" class="copy-link" onClick={() => void copy()} aria-live="polite">
      {said}
    </button>
  );
}
