import { createServer, type RequestListener } from 'node:http';

/**
 * The minimum of a Node server: it reads the body and responds. It stores nothing and counts nothing.
 * Usage: node bare-server.ts [counts bytes]
 */
const joining: RequestListener = (request, response) => {
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => void chunks.push(chunk));
  request.on('end', () => {
    Buffer.concat(chunks);
    answer(response);
  });
};

/** Even less: it ignores the bytes of the body, which no server that stores bodies can do. */
const countingBytes: RequestListener = (request, response) => {
  let bytes = 0;
  request.on('data', (chunk: Buffer) => void (bytes += chunk.byteLength));
  request.on('end', () => {
    if (bytes > 0) answer(response);
  });
};

function answer(response: Parameters<RequestListener>[1]): void {
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': 21 });
  response.end('{"status":"accepted"}');
}

const server = createServer(process.argv[2] === 'counts bytes' ? countingBytes : joining);
server.listen(0, '127.0.0.1', () => {
  const address = server.address();
  if (typeof address === 'object') {
    process.stdout.write(`listening on http://127.0.0.1:${address?.port}\n`);
  }
});
