import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';

import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { expect, it, onTestFinished } from 'vitest';

import { singleTry } from '../../support/aws/aws-store.ts';

it('a client without retries reuses no connection that the server has closed', async () => {
  let connections = 0;
  const server = createServer((request, response) => {
    request.resume();
    response.end('{"TableNames":[]}');
  });
  server.on('connection', () => connections++);
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
  for (let request = 0; request < 3; request++) await client.send(new ListTablesCommand({}));
  expect(connections).toBe(3);
});
