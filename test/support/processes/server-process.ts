import { afterEach } from 'vitest';

import { undoAll } from './real-server.ts';

export * from './real-server.ts';

afterEach(undoAll);
