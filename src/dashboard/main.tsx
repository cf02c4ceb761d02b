import { render } from 'preact';

import { App } from './views/app.tsx';
import { Store } from './state/store.ts';
import { applyTheme } from './state/theme.ts';

applyTheme();
const root = document.getElementById('app');
if (root !== null) render(<App store={new Store()} />, root);
