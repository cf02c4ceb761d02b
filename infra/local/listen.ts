import { once } from 'node:events';
import type { AddressInfo, Server } from 'node:net';

/**
 * Listens and returns the port; 0 picks a free one.
 * @throws the error of `net` if that is not possible.
 */
export async function listen(server: Server, port: number, host?: string): Promise<number> {
  server.listen(port, host);
  await once(server, 'listening');
  return (server.address() as AddressInfo).port;
}
