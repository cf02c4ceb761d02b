import { useEffect, useRef, useState } from 'preact/hooks';

import { Controls } from './controls/controls.tsx';
import { Dashboard } from './dashboard.tsx';
import { FirstRun } from './first-run.tsx';
import { Header } from './header.tsx';
import { SignIn } from './sign-in.tsx';
import { isFirstRun, type Failure, type State, type Store } from '../state/store.ts';

export function App({ store }: { store: Store }) {
  const [state, setState] = useState<State>(store.state);
  useEffect(() => store.subscribe(setState), [store]);
  const main = useRef<HTMLElement>(null);
  useEffect(() => keepFocus(() => main.current?.focus({ preventScroll: true })), []);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the counts
      </a>
      <Header store={store} state={state} />
      <main id="main" tabIndex={-1} ref={main}>
        <Content store={store} state={state} />
      </main>
      <footer>
        {!state.isSignedIn && state.signIn === undefined && (
          <a href={`stats-html?date=${state.days.today}`}>Plain HTML page of today</a>
        )}
        <a href="docs">API</a>
      </footer>
    </>
  );
}

/** Moves the focus to a near element when the focused one is removed or disabled. */
function keepFocus(goOn: () => void): () => void {
  let latest: Element | undefined;
  const note = ({ target }: Event) => {
    if (target instanceof Element) latest = target;
  };
  const observer = new MutationObserver(() => {
    if (latest === undefined || document.activeElement !== document.body) return;
    if (latest.isConnected && !latest.matches(':disabled')) return;
    latest = undefined;
    goOn();
  });
  document.addEventListener('focusin', note);
  const attributes = { attributes: true, attributeFilter: ['disabled'] };
  observer.observe(document.body, { childList: true, subtree: true, ...attributes });
  return () => {
    document.removeEventListener('focusin', note);
    observer.disconnect();
  };
}

function Content({ store, state }: { store: Store; state: State }) {
  const { snapshot, signIn, error } = state;
  if (signIn !== undefined) return <SignIn store={store} message={signIn.message} />;
  if (snapshot === undefined && error === undefined) {
    return (
      <p class="loading" role="status">
        Loading the counts …
      </p>
    );
  }
  if (isFirstRun(state)) return <FirstRun isSignedIn={state.isSignedIn} />;
  return (
    <>
      {error !== undefined && <FailureNotice store={store} failure={error} />}
      <Controls store={store} state={state} />
      {snapshot !== undefined && <Dashboard store={store} state={state} snapshot={snapshot} />}
    </>
  );
}

function FailureNotice({ store, failure }: { store: Store; failure: Failure }) {
  return (
    <div class="notice failure" role="alert">
      <h2>
        {failure.isPassing ? 'The counts are not available now' : 'These counts are not available'}
      </h2>
      <p>
        {failure.text} {failure.isPassing && 'This page retries automatically.'}
      </p>
      <button type="button" onClick={() => void store.refresh()}>
        Try again
      </button>
    </div>
  );
}
