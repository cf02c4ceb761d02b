import { parentPort, workerData } from 'node:worker_threads';

import type {
  EnvironmentData,
  EnvironmentMessage,
  HandlerError,
  InvocationMessage,
} from './lambda-messages.ts';

// The main module of the worker thread that is one execution environment.

type Handler = (event: unknown, context: object) => unknown;

const data = workerData as EnvironmentData;

async function loadHandler(): Promise<Handler> {
  const module = (await import(data.moduleUrl)) as Record<string, unknown>;
  const handler = module[data.handlerName];
  if (typeof handler === 'function') return handler as Handler;
  throw new Error(`${data.handlerName} is undefined or not exported`);
}

async function invoke(handler: Handler, message: InvocationMessage): Promise<EnvironmentMessage> {
  const { requestId, payload, deadline } = message;
  try {
    const result = await handler(JSON.parse(payload), {
      awsRequestId: requestId,
      functionName: data.functionName,
      functionVersion: '$LATEST',
      invokedFunctionArn: data.functionArn,
      memoryLimitInMB: String(data.memoryMb),
      logGroupName: `/aws/lambda/${data.functionName}`,
      logStreamName: 'local',
      callbackWaitsForEmptyEventLoop: true,
      getRemainingTimeInMillis: () => Math.max(0, deadline - Date.now()),
    });
    // `undefined` is not JSON; Lambda returns null for it.
    const text = (JSON.stringify(result) as string | undefined) ?? 'null';
    return { kind: 'succeeded', payload: text };
  } catch (error) {
    return { kind: 'failed', error: describeError(error) };
  }
}

function describeError(error: unknown): HandlerError {
  if (!(error instanceof Error)) {
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  }
  const { name, message, stack = '' } = error;
  return { errorType: name, errorMessage: message, trace: stack.split('\n') };
}

function send(message: EnvironmentMessage): void {
  parentPort?.postMessage(message);
}

const started = performance.now();
try {
  const handler = await loadHandler();
  send({ kind: 'ready', importMs: performance.now() - started });
  parentPort?.on('message', (message: InvocationMessage) => {
    void invoke(handler, message).then(send);
  });
} catch (error) {
  send({ kind: 'init-failed', error: describeError(error) });
}
