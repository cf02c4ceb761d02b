import { connect, type Socket } from 'node:net';

import { expect, it } from 'vitest';

import { readExposition } from '../../support/exposition.ts';
import { smallServer } from '../../support/processes/killed-server.ts';
import { logLines } from '../../support/processes/server-log.ts';
import {
  ServerProcess,
  afterTest,
  newClient,
  startServer,
  temporaryDirectory,
} from '../../support/processes/server-process.ts';

/** Opens a connection on which nothing is sent. The server may close it at any time. */
function openIdle(url: string): Promise<Socket> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve) => {
    const socket = connect(Number(port), hostname, () => resolve(socket));
    socket.on('error', () => resolve(socket));
    afterTest(() => void socket.destroy());
  });
}

const item = { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' };
const body = JSON.stringify({ processed_devices: [item], filler: 'x'.repeat(8_000) });
const shellBefore = 'ulimit -n 64';
const idle = 80;

it('idle connections leave storage the descriptors for its next segments', async () => {
  const dataDir = temporaryDirectory();
  const { server, url } = await startServer(dataDir, { shellBefore, program: smallServer });
  for (let opened = 0; opened < idle; opened++) await openIdle(url);
  const client = newClient(1);
  // Four to a segment.
  for (let sent = 0; sent < 40; sent++) {
    expect((await client.post(url, { body, key: undefined }))?.status).toBe(200);
    if (sent === 20) {
      const sums = `${url}/stats?from=2023-01-01&to=2023-12-31&group_by=type`;
      expect((await client.get(sums))?.status).toBe(200);
    }
  }
  server.kill('SIGTERM');
  expect(await server.waitExit()).toEqual({ code: 0, signal: null });
  expect(server.log).toBe('');
});

it('serve bounds the connections by the limit of descriptors, and logs the bound', async () => {
  const { server, url } = await startServer(temporaryDirectory(), { shellBefore });
  const [bounded] = logLines(server.log);
  expect(bounded).toMatchObject({ event: 'connections_bounded', open_files_max: 64 });
  for (let opened = 0; opened < idle; opened++) await openIdle(url);
  const client = newClient(1);
  expect((await client.post(url, { body, key: undefined }))?.status).toBe(200);
  const { text = '' } = (await client.get(`${url}/metrics`)) ?? {};
  const connections = readExposition(text).samples.get('device_pipeline_http_connections');
  expect(connections).toBeLessThanOrEqual(Number(bounded?.['connections_max']));
});

it('serve does not start if the limit leaves no connections, and says what to do', async () => {
  const server = new ServerProcess(temporaryDirectory(), { shellBefore: 'ulimit -n 40' });
  expect(await server.waitExit()).toEqual({ code: 1, signal: null });
  expect(server.log).toMatch(
    /^device-pipeline: The limit on open files is 40, but the server needs at least \d+\. Raise it \(ulimit -n, .*\n$/,
  );
});
