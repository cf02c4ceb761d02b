import { Agent, createServer, request as sendRequest } from 'node:http';
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Readable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';

import { listen } from '../listen.ts';
import { hopByHop } from '../gateway/api-event.ts';
import type { LocalCloudFormation } from '../template/cloudformation.ts';
import type { Permissions } from './permissions.ts';
import { describeCall, type AwsCall } from './wire-call.ts';

/** Above the limits of all emulators. */
const bodyBytesMax = 16 * 1024 * 1024;
const connectionsMax = 1_024;

/** A fault to inject into a call. */
export type Fault =
  /** The service refuses the call, with an error in its own format. */
  | { readonly kind: 'refuse'; readonly status: number; readonly code: string }
  /** The call is executed after a delay. */
  | { readonly kind: 'hold'; readonly ms: number }
  /** The call is executed, but the connection closes without a response. */
  | { readonly kind: 'lose-reply' }
  /** The connection closes; the call is not executed. */
  | { readonly kind: 'cut' }
  /** The call is executed twice, in sequence; the response is that of the second. */
  | { readonly kind: 'repeat' };

export interface AwsReply {
  readonly status: number;
  readonly responseBytes: number;
  readonly responseBody: Buffer;
}

export interface WireOptions {
  readonly dynamoDbUrl: string;
  readonly fauxqsUrl: string;
  /** The emulated CloudFormation; undefined until the stack exists. */
  readonly cloudFormation?: (() => LocalCloudFormation | undefined) | undefined;
  /** The permissions of the functions; undefined until the stack exists. */
  readonly permissions?: (() => Permissions | undefined) | undefined;
  /** Called with each call that a function tries without permission. */
  readonly onRefused?: ((what: string) => void) | undefined;
  /** Called before each call is executed; may return a fault. */
  readonly fault?: ((call: AwsCall) => Fault | undefined) | undefined;
  /** Called with each response of a service, even if a fault then drops it. */
  readonly observe?: ((call: AwsCall, reply: AwsReply) => void) | undefined;
}

/** A proxy in front of the emulators. All calls of the functions pass through it unchanged. */
export interface Wire {
  readonly url: string;
  stop(): Promise<void>;
}

export async function startWire(options: WireOptions): Promise<Wire> {
  // Close idle connections before the emulators do, so that no request uses a closed one.
  const agent = new Agent({ keepAlive: true, timeout: 5_000, scheduling: 'lifo' });
  const server = createServer({ keepAliveTimeout: 60_000 }, (incoming, response) => {
    pass(options, agent, incoming, response).catch(() => response.destroy());
  });
  // Without this, node:http answers `Expect: 100-continue` after the handler has been called.
  server.on('checkContinue', (incoming: IncomingMessage, response: ServerResponse) => {
    response.writeContinue();
    server.emit('request', incoming, response);
  });
  server.maxConnections = connectionsMax;
  const port = await listen(server, 0, '127.0.0.1');
  return {
    url: `http://127.0.0.1:${port}`,
    async stop() {
      const closed = new Promise((resolve) => server.close(resolve));
      server.closeAllConnections();
      agent.destroy();
      await closed;
    },
  };
}

async function pass(
  options: WireOptions,
  agent: Agent,
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const body = await readAll(incoming);
  if (isQueryProtocol(incoming)) {
    answerCloudFormation(options.cloudFormation?.(), body, response);
    return;
  }
  const call = describeCall(incoming, body);
  const isHead = incoming.method === 'HEAD';
  const permissions = options.permissions?.();
  const refusal = permissions?.refusal(call);
  if (refusal !== undefined) {
    options.onRefused?.(refusal);
    refuse(call, accessDenied(call, refusal), isHead, response);
    return;
  }
  const fault = options.fault?.(call);
  const carryOut = async () => {
    const base = call.service === 'dynamodb' ? options.dynamoDbUrl : options.fauxqsUrl;
    const reply = await forward(agent, base, incoming, call);
    const { status, responseBody } = reply;
    options.observe?.(call, { status, responseBytes: responseBody.length, responseBody });
    return reply;
  };
  switch (fault?.kind) {
    case 'cut':
      response.destroy();
      return;
    case 'refuse':
      refuse(call, { ...fault, message: `${fault.code}, by an injected fault` }, isHead, response);
      return;
    case 'lose-reply':
      await carryOut();
      response.destroy();
      return;
    case 'hold':
      await delay(fault.ms);
      break;
    case 'repeat':
      await carryOut();
      break;
    case undefined:
      break;
  }
  const reply = await carryOut();
  const isMissing =
    call.service === 's3' && reply.status === 404 && /^(Get|Head)/.test(call.operation);
  if (isMissing && permissions?.tellsMissing(call) === false) {
    refuse(call, accessDenied(call, 'Access Denied'), isHead, response);
  } else {
    answer(reply, isHead, response);
  }
}

/** An error as a service answers it. */
interface ServiceError {
  readonly status: number;
  readonly code: string;
  readonly message: string;
}

function accessDenied({ service }: AwsCall, message: string): ServiceError {
  return service === 'dynamodb'
    ? { status: 400, code: 'AccessDeniedException', message }
    : { status: 403, code: 'AccessDenied', message };
}

/** Of the emulated services, only CloudFormation gets form-encoded requests. */
function isQueryProtocol({ headers }: IncomingMessage): boolean {
  return headers['content-type']?.startsWith('application/x-www-form-urlencoded') === true;
}

function answerCloudFormation(
  cloudFormation: LocalCloudFormation | undefined,
  body: Buffer,
  response: ServerResponse,
): void {
  const found = cloudFormation?.answer(new URLSearchParams(body.toString()));
  response.writeHead(found?.status ?? 503, { 'content-type': 'text/xml' });
  response.end(found?.body);
}

interface ForwardedReply {
  readonly status: number;
  readonly rawHeaders: readonly string[];
  readonly responseBody: Buffer;
}

function forward(
  agent: Agent,
  base: string,
  { method = 'GET', rawHeaders }: IncomingMessage,
  { target, requestBody }: AwsCall,
): Promise<ForwardedReply> {
  const { hostname, port } = new URL(base);
  const length = ['content-length', String(requestBody.length)];
  const headers = [...endToEnd(rawHeaders), ...length];
  return new Promise((resolve, reject) => {
    const options = { agent, hostname, port, method, path: target, headers };
    const sent = sendRequest(options, (reply) => {
      readAll(reply).then((responseBody) => {
        resolve({ status: reply.statusCode ?? 502, rawHeaders: reply.rawHeaders, responseBody });
      }, reject);
    });
    sent.on('error', reject);
    sent.end(requestBody);
  });
}

function endToEnd(rawHeaders: readonly string[], alsoDropped = 'content-length'): string[] {
  const kept: string[] = [];
  for (let index = 0; index < rawHeaders.length; index += 2) {
    const name = rawHeaders[index] ?? '';
    const lower = name.toLowerCase();
    if (!hopByHop.has(lower) && lower !== alsoDropped) kept.push(name, rawHeaders[index + 1] ?? '');
  }
  return kept;
}

function answer(reply: ForwardedReply, isHead: boolean, response: ServerResponse): void {
  const { status, rawHeaders, responseBody } = reply;
  // The content-length of a response to HEAD is the size of the object.
  const headers = isHead
    ? endToEnd(rawHeaders, '')
    : [...endToEnd(rawHeaders), 'content-length', String(responseBody.length)];
  response.writeHead(status, headers);
  response.end(responseBody);
}

function refuse(
  { service }: AwsCall,
  { status, code, message }: ServiceError,
  isHead: boolean,
  response: ServerResponse,
): void {
  if (service === 's3') {
    const xml = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${message}</Message></Error>`;
    response.writeHead(status, { 'content-type': 'application/xml' });
    response.end(isHead ? undefined : xml);
    return;
  }
  const prefix = service === 'dynamodb' ? 'com.amazonaws.dynamodb.v20120810' : 'com.amazonaws.sqs';
  response.writeHead(status, { 'content-type': 'application/x-amz-json-1.0' });
  response.end(JSON.stringify({ __type: `${prefix}#${code}`, message }));
}

/** @throws if the client disconnects, or sends more than any service accepts. */
async function readAll(stream: Readable): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > bodyBytesMax) throw new Error(`the body is larger than ${bodyBytesMax} bytes`);
    parts.push(part);
  }
  return parts.length === 1 && parts[0] !== undefined ? parts[0] : Buffer.concat(parts);
}
