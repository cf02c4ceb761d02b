import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';

import { afterTest } from './real-server.ts';

/**
 * A proxy that serves a server under a path prefix, which it removes, and nothing else. It names
 * the server's own address as the host. Returns its address with the prefix.
 */
export async function startPrefixProxy(url: string, prefix: string): Promise<string> {
  const proxy = createServer((request, response) => {
    const { method, url: target = '/', headers } = request;
    if (!target.startsWith(`${prefix}/`)) {
      response.writeHead(404).end('not under the prefix');
      return;
    }
    const path = target.slice(prefix.length);
    const { host } = new URL(url);
    const sent = httpRequest(url, { method, path, headers: { ...headers, host } }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    sent.on('error', () => response.destroy());
    request.pipe(sent);
  });
  await new Promise<void>((resolve) => proxy.listen(0, '127.0.0.1', resolve));
  afterTest(() => {
    proxy.closeAllConnections();
    proxy.close();
  });
  const { port } = proxy.address() as AddressInfo;
  return `http://127.0.0.1:${port}${prefix}`;
}
