import { useState } from 'preact/hooks';

import { agoText, durationText, wholeText } from '../data/format.ts';
import type { ArchiveHealth, Health } from '../data/health.ts';
import type { State, Store } from '../state/store.ts';
import { setTheme, theme, themes, type Theme } from '../state/theme.ts';
import { Segments } from './segments.tsx';

interface HeaderProps {
  store: Store;
  state: State;
  onTheme: () => void;
}

export function Header({ store, state, onTheme }: HeaderProps) {
  return (
    <header>
      <div class="brand">
        <svg viewBox="0 0 32 32" aria-hidden="true">
          <rect width="32" height="32" rx="8" />
          <path d="M8 23v-6M16 23V9M24 23V13" />
        </svg>
        <h1>Device pipeline</h1>
      </div>
      {state.signIn === undefined && <HealthLine health={state.health} now={state.now} />}
      <div class="tools">
        {state.isSignedIn && (
          <button type="button" class="quiet" onClick={() => store.signOut()}>
            Sign out
          </button>
        )}
        <ThemeChoice onTheme={onTheme} />
      </div>
    </header>
  );
}

function ThemeChoice({ onTheme }: { onTheme: () => void }) {
  const [chosen, setChosen] = useState<Theme>(theme());
  const choose = (name: Theme) => {
    setTheme(name);
    setChosen(name);
    onTheme();
  };
  return <Segments label="Colours" choices={themes} chosen={chosen} onChoose={choose} />;
}

function HealthLine({ health, now }: { health: Health | undefined; now: number }) {
  if (health === undefined) return <div class="health" />;
  if (health.kind !== 'ready') {
    return (
      <div class="health bad" role="status">
        <span class="dot" aria-hidden="true" />
        {health.kind === 'unreachable' ? (
          <span>The server does not respond. Check that it is running.</span>
        ) : (
          <span>Not ready: {health.detail}</span>
        )}
      </div>
    );
  }
  const { pending, deadLetters = 0, countedThrough, lastReceivedAt, archive } = health;
  const isWarning = deadLetters > 0 || archive?.isReachable === false;
  const through =
    countedThrough === undefined
      ? undefined
      : `Counted through ${new Date(countedThrough).toISOString()}`;
  return (
    <div class={isWarning ? 'health warn' : 'health'} aria-label="Pipeline health" role="group">
      <span class="dot" aria-hidden="true" />
      <span>
        {lastReceivedAt === undefined ? 'Ready' : `Last batch ${agoText(lastReceivedAt, now)}`}
      </span>
      {pending !== undefined && (
        <span title={through}>
          {pending.amount === 0
            ? 'Everything is counted'
            : `${wholeText(pending.amount)} ${pending.unit} to be counted`}
        </span>
      )}
      {archive !== undefined && <span>{archiveText(archive)}</span>}
      {deadLetters > 0 && (
        <span>
          {wholeText(deadLetters)} dead {deadLetters === 1 ? 'letter' : 'letters'}:{' '}
          <code>device-pipeline dlq list</code>
        </span>
      )}
    </div>
  );
}

/** A lag of some seconds is normal: batches wait to be shipped together. */
function archiveText({ lagSeconds, isReachable }: ArchiveHealth): string {
  const behind = `${durationText(lagSeconds)} behind`;
  if (!isReachable) return `The archive cannot be reached, ${behind}`;
  return lagSeconds < 60 ? 'Archived' : `Archive ${behind}`;
}
