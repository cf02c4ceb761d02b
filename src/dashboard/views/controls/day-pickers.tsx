import { useEffect, useState } from 'preact/hooks';

import { longDay } from '../../data/calendar/date-text.ts';
import { isDay, type Range } from '../../data/calendar/days.ts';
import { isSoundRange, type View } from '../../data/view.ts';
import type { Store } from '../../state/store.ts';

interface DayPickersProps {
  store: Store;
  chosen: View['range'];
  range: Range;
}

export function DayPickers({ store, chosen, range }: DayPickersProps) {
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
    <label class="day">
      <input
        type="date"
        aria-label={label}
        aria-invalid={!isSound}
        value={draft[end]}
        onChange={({ currentTarget }) => change({ [end]: currentTarget.value })}
      />
      {isDay(draft[end]) && <span aria-hidden="true">{longDay(draft[end])}</span>}
    </label>
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
