import { render } from 'preact';

import { App } from './app.tsx';
import { Store } from './store.ts';
import { applyTheme } from './theme.ts';

applyTheme();
const root = document.getElementById('app');
if (root !== null) render(<App store={new Store()} />, root);
