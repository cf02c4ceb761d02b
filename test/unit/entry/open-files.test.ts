import { expect, it } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { describeFailure } from '../../../src/engines/embedded/failure-text.ts';
import { openFilesMax, socketsWithin } from '../../../src/entry/serve/open-files.ts';
import {
  ConnectionLimiter,
  connectionsWithin,
} from '../../../src/http/server/connection-limiter.ts';

it('connections never take more sockets than there are, and leave one of them at most', () => {
  for (let sockets = 2; sockets <= 300; sockets++) {
    const { hardLimit: connectionsMostly } = new ConnectionLimiter(connectionsWithin(sockets));
    expect([sockets, sockets - 1]).toContain(connectionsMostly);
  }
});

it('storage keeps its descriptors, whatever the limit', () => {
  const open = 1_000 - socketsWithin(1_000);
  expect(open).toBeGreaterThan(50);
  expect(2_000 - socketsWithin(2_000)).toBe(open);
  expect(() => socketsWithin(40)).toThrow(
    /^The limit on open files is 40, but the server needs at least \d+\. Raise it \(ulimit -n/,
  );
});

it('the limit of this process is known', () => {
  expect(openFilesMax()).toBeGreaterThan(100);
});

it.each(['EMFILE', 'ENFILE'])('%s in storage is a sentence that says what to do', (code) => {
  const error = Object.assign(new Error(`${code}: too many open files, open 'x'`), { code });
  expect(describeFailure(error, dataPaths('/data'))).toBe(
    `${dataPaths('/data').root} cannot be used any longer, because no more files can be opened (${error.message}). Raise the limit on open files (ulimit -n, or LimitNOFILE= of systemd) and start again; everything that was acknowledged is stored.`,
  );
});
