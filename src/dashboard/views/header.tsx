import { useState } from 'preact/hooks';

import { momentText } from '../data/calendar/date-text.ts';
import type { State, Store } from '../state/store.ts';
import { setTheme, theme, themes, type Theme } from '../state/theme.ts';
import { HealthLine } from './health-line.tsx';
import { Segments } from './segments.tsx';

interface HeaderProps {
  store: Store;
  state: State;
}

export function Header({ store, state }: HeaderProps) {
  return (
    <header>
      <div class="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M8 23v-6M16 23V9M24 23V13" />
        </svg>
        <h1>Device pipeline</h1>
      </div>
      {state.signIn === undefined && <HealthLine state={state} />}
      <p class="paper">{paperText(state)}</p>
      <div class="tools">
        {state.isSignedIn && (
          <button type="button" class="quiet" onClick={() => store.signOut()}>
            Sign out
          </button>
        )}
        <ThemeChoice />
      </div>
    </header>
  );
}

/** The text that a printed page needs: the server that it shows, and absolute times. */
function paperText({ health, now }: State): string {
  const last = health?.kind === 'ready' ? health.lastReceivedAt : undefined;
  const batch = last === undefined ? '' : `; last batch ${momentText(last)}`;
  return `${location.host}${location.pathname}, ${momentText(now)}${batch}`;
}

function ThemeChoice() {
  const [chosen, setChosen] = useState<Theme>(theme());
  const choose = (name: Theme) => {
    setTheme(name);
    setChosen(name);
  };
  return <Segments label="Colours" choices={themes} chosen={chosen} onChoose={choose} />;
}
