import { useEffect, useRef, useState } from 'preact/hooks';

import { Controls } from './controls.tsx';
import { Dashboard } from './dashboard.tsx';
import { dayOf } from './days.ts';
import { FirstRun } from './first-run.tsx';
import { Header } from './header.tsx';
import { SignIn } from './sign-in.tsx';
import { isFirstRun, type Failure, type State, type Store } from './store.ts';
import { onSchemeChange, scheme } from './theme.ts';

export function App({ store }: { store: Store }) {
  const [state, setState] = useState<State>(store.state);
  const [colours, setColours] = useState(scheme());
  useEffect(() => store.subscribe(setState), [store]);
  useEffect(() => onSchemeChange(() => setColours(scheme())), []);
  const main = useRef<HTMLElement>(null);
  const asked = useRef(false);
  const isAsking = state.signIn !== undefined;
  useEffect(() => {
    // The field that had the focus is gone: the keyboard goes on where the counts are.
    if (asked.current && !isAsking) main.current?.focus();
    asked.current = isAsking;
  }, [isAsking]);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the counts
      </a>
      <Header store={store} state={state} onTheme={() => setColours(scheme())} />
      <main id="main" tabIndex={-1} ref={main}>
        <Content store={store} state={state} colours={colours} />
      </main>
      <footer>
        {!state.isSignedIn && (
          <a href={`/stats-html?date=${dayOf(state.now)}`}>Plain page of today</a>
        )}
        <a href="/docs">API</a>
      </footer>
    </>
  );
}

function Content({
  store,
  state,
  colours,
}: {
  store: Store;
  state: State;
  colours: 'light' | 'dark';
}) {
  const { snapshot, signIn, error } = state;
  if (signIn !== undefined) return <SignIn store={store} message={signIn.message} />;
  if (snapshot === undefined && error === undefined) return <Loading />;
  if (isFirstRun(state)) return <FirstRun isSignedIn={state.isSignedIn} />;
  return (
    <>
      {error !== undefined && <FailureNotice store={store} failure={error} />}
      <Controls store={store} state={state} />
      {snapshot !== undefined && (
        <Dashboard store={store} state={state} snapshot={snapshot} scheme={colours} />
      )}
    </>
  );
}

function Loading() {
  return (
    <p class="loading" role="status">
      Loading the counts …
    </p>
  );
}

function FailureNotice({ store, failure }: { store: Store; failure: Failure }) {
  return (
    <div class="notice failure" role="alert">
      <h2>{failure.isPassing ? 'The counts cannot be read now' : 'These counts cannot be read'}</h2>
      <p>
        {failure.text} {failure.isPassing && 'This page tries again by itself.'}
      </p>
      <button type="button" onClick={() => void store.refresh()}>
        Try again
      </button>
    </div>
  );
}
