import {
  createServer,
  request as httpRequest,
  type RequestOptions,
  type IncomingHttpHeaders,
  type IncomingMessage,
  type ServerResponse,
} from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

import { listen } from '../../../infra/local/listen.ts';

/** A request as the proxy received it. */
export interface S3Request {
  readonly method: string;
  /** `/bucket/key`, decoded. */
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

export type Fault =
  /** Closes the connection; the store does not see the request. */
  | { readonly kind: 'drop-request' }
  /** Closes the connection after the store's answer: the client does not learn of its effect. */
  | { readonly kind: 'drop-answer' }
  /** Closes the connection in the middle of the response's body. */
  | { readonly kind: 'cut-answer' }
  /** Lists the objects of a page in the reverse order. Some stores do not list by name. */
  | { readonly kind: 'reverse-list' }
  /** Answers instead of the store, with an error of S3. Without a code, the body is a page of HTML. */
  | { readonly kind: 'answer'; readonly status: number; readonly code?: string }
  /** Sends the request to the store this much later. */
  | { readonly kind: 'delay'; readonly ms: number }
  /** Sends the request to the store only then. */
  | { readonly kind: 'wait'; readonly until: Promise<unknown> };

export const slowDown: Fault = { kind: 'answer', status: 503, code: 'SlowDown' };

/** What goes wrong. Tests change it between requests. */
export interface S3Faults {
  /** Called for each request; returns the fault that hits it. */
  faultOf(request: S3Request): Fault | undefined;
  /** Plays a store that ignores If-None-Match. */
  ignoreConditions: boolean;
}

/** Objects of a page of a list: a page of S3 has 1,000, which take long to make. */
const pageObjects = 10;

export interface S3WithConditions {
  readonly url: string;
  readonly faults: S3Faults;
  stop(): Promise<void>;
}

interface Answer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/**
 * A proxy before an S3 emulator that ignores If-None-Match. It answers a conditional PUT of an existing
 * key with 412, as S3 does, sends the requests of a key one after the other, and injects faults.
 */
export async function startS3WithConditions(storeUrl: string): Promise<S3WithConditions> {
  const faults: S3Faults = { faultOf: () => undefined, ignoreConditions: false };
  const inOrder = oneAtATime();
  const forward = async (message: IncomingMessage, response: ServerResponse) => {
    const request = await read(message);
    const fault = faults.faultOf(request);
    if (fault?.kind === 'drop-request') return void response.destroy();
    if (fault?.kind === 'answer') {
      send(response, errorAnswer(fault.status, fault.code));
      return;
    }
    if (fault?.kind === 'delay') await delay(fault.ms);
    if (fault?.kind === 'wait') await fault.until;
    const answer = await inOrder(request.path, async () => {
      const isConditional = request.method === 'PUT' && request.headers['if-none-match'] === '*';
      if (isConditional && !faults.ignoreConditions && (await exists(storeUrl, message))) {
        return errorAnswer(412, 'PreconditionFailed');
      }
      return ask(storeUrl, message, request.body);
    });
    if (fault?.kind === 'drop-answer') return void response.destroy();
    if (fault?.kind === 'reverse-list') send(response, reversed(answer));
    else send(response, answer, fault?.kind === 'cut-answer');
  };
  const proxy = createServer((message, response) => {
    forward(message, response).catch(() => response.destroy());
  });
  // Only the faults above close connections: not while a client is about to use one.
  proxy.keepAliveTimeout = 0;
  const port = await listen(proxy, 0, '127.0.0.1');
  return {
    url: `http://127.0.0.1:${port}`,
    faults,
    async stop() {
      proxy.closeAllConnections();
      await new Promise((resolve) => proxy.close(resolve));
    },
  };
}

/** Runs the tasks of a name one after the other. */
function oneAtATime() {
  const last = new Map<string, Promise<unknown>>();
  return async <T>(name: string, task: () => Promise<T>): Promise<T> => {
    const result = Promise.allSettled([last.get(name)]).then(task);
    last.set(name, result);
    try {
      return await result;
    } finally {
      if (last.get(name) === result) last.delete(name);
    }
  };
}

async function read(message: IncomingMessage): Promise<S3Request> {
  const { pathname, searchParams } = new URL(message.url ?? '/', 'http://store');
  return {
    method: message.method ?? '',
    path: decodeURIComponent(pathname),
    query: searchParams,
    headers: message.headers,
    body: await bodyOf(message),
  };
}

async function bodyOf(message: IncomingMessage): Promise<Buffer> {
  return Buffer.concat((await message.toArray()) as Buffer[]);
}

async function exists(storeUrl: string, { url = '/' }: IncomingMessage): Promise<boolean> {
  const { pathname } = new URL(url, storeUrl);
  return (await request(storeUrl, { path: pathname, method: 'HEAD' })).status === 200;
}

function ask(storeUrl: string, message: IncomingMessage, body: Buffer): Promise<Answer> {
  const { url = '/', method, headers } = message;
  const path = url.includes('list-type=2') ? `${url}&max-keys=${pageObjects}` : url;
  return request(storeUrl, { path, method, headers }, body);
}

/** Each request has a connection of its own: the store may just be closing an idle connection. */
async function request(
  storeUrl: string,
  options: Pick<RequestOptions, 'path' | 'method' | 'headers'>,
  body?: Buffer,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  httpRequest(storeUrl, { ...options, agent: false }, resolve)
    .on('error', reject)
    .end(body);
  const answer = await promise;
  return {
    status: answer.statusCode ?? 502,
    headers: answer.headers,
    body: await bodyOf(answer),
  };
}

function reversed(answer: Answer): Answer {
  const objects = /<Contents>.*?<\/Contents>/gs;
  const text = answer.body.toString();
  const others = text.match(objects) ?? [];
  return { ...answer, body: Buffer.from(text.replace(objects, () => others.pop() ?? '')) };
}

function errorAnswer(status: number, code?: string): Answer {
  const [type, body] =
    code === undefined
      ? ['text/html', '<html><body>Bad gateway</body></html>']
      : [
          'application/xml',
          `<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>${code}</Code><Message>Because of ${code}</Message><RequestId>1</RequestId></Error>`,
        ];
  return { status, headers: { 'content-type': type }, body: Buffer.from(body) };
}

function send(response: ServerResponse, { status, headers, body }: Answer, isCut = false): void {
  response.writeHead(status, headers);
  if (!isCut) return void response.end(body);
  response.write(body.subarray(0, body.length / 2), () => response.destroy());
}
