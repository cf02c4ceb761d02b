import { createServer } from 'node:http';

/** The least a Node server can do: read the body, answer. Stores nothing, counts nothing. */
const server = createServer((request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => void chunks.push(chunk));
  request.on('end', () => {
    Buffer.concat(chunks);
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': 21 });
    response.end('{"status":"accepted"}');
  });
});
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') {
    process.stdout.write(`listening on http://127.0.0.1:${address?.port}\n`);
  }
});
