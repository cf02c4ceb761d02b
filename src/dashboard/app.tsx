import { useEffect, useState } from 'preact/hooks';

import { Controls } from './controls.tsx';
import { Dashboard } from './dashboard.tsx';
import { dayOf } from './days.ts';
import { FirstRun } from './first-run.tsx';
import { Header } from './header.tsx';
import { SignIn } from './sign-in.tsx';
import { isFirstRun, type State, type Store } from './store.ts';
import { onSchemeChange, scheme } from './theme.ts';

export function App({ store }: { store: Store }) {
  const [state, setState] = useState<State>(store.state);
  const [colours, setColours] = useState(scheme());
  useEffect(() => store.subscribe(setState), [store]);
  useEffect(() => onSchemeChange(() => setColours(scheme())), []);
  return (
    <>
      <a class="skip" href="#main">
        Skip to the counts
      </a>
      <Header store={store} state={state} onTheme={() => setColours(scheme())} />
      <main id="main" tabIndex={-1}>
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
  const notice = error !== undefined && <Failure store={store} text={error} />;
  if (snapshot === undefined) return notice || <Loading />;
  if (isFirstRun(state)) return <FirstRun />;
  return (
    <>
      {notice}
      <Controls store={store} state={state} />
      <Dashboard store={store} state={state} snapshot={snapshot} scheme={colours} />
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

function Failure({ store, text }: { store: Store; text: string }) {
  return (
    <div class="notice failure" role="alert">
      <h2>The counts cannot be read now</h2>
      <p>{text} This page tries again by itself.</p>
      <button type="button" onClick={() => void store.refresh()}>
        Try now
      </button>
    </div>
  );
}
