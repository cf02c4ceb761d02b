import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';

import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { expect, it, onTestFinished } from 'vitest';

import { singleTry } from '../../support/aws/aws-store.ts';

it('a client without retries closes an idle connection before the server does', async () => {
  let connections = 0;
  const server = createServer((request, response) => {
    request.resume();
    response.end('{"TableNames":[]}');
  });
  server.on('connection', () => connections++);
  server.keepAliveTimeout = 0;
  server.listen(0, '127.0.0.1');
  onTestFinished(() => void server.close());
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  const client = new DynamoDBClient({
    ...singleTry,
    endpoint: `http://127.0.0.1:${port}`,
    region: 'eu-central-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  onTestFinished(() => client.destroy());
  const opened = once(server, 'connection') as Promise<[Socket]>;
  for (let request = 0; request < 3; request++) await client.send(new ListTablesCommand({}));
  expect(connections).toBe(1);
  const [connection] = await opened;
  await once(connection, 'end');
  await client.send(new ListTablesCommand({}));
  expect(connections).toBe(2);
});
