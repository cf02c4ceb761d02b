import { join } from 'node:path';

import type { CompressedForm } from './gateway/api-event.ts';
import { clientEnvironment } from './client-settings.ts';
import { localCloudFormation, type LocalCloudFormation } from './template/cloudformation.ts';
import { createResources } from './template/create-resources.ts';
import type { DisorderOptions } from './emulators/disorder.ts';
import { startEmulators, type Emulators } from './emulators/emulators.ts';
import { createHttpFront, type FrontRequest, type HttpFront } from './gateway/http-front.ts';
import {
  LambdaFunction,
  type FunctionObserver,
  type InvocationResult,
} from './functions/lambda-runtime.ts';
import { readTemplate } from './template/read-template.ts';
import { startScheduler, type Scheduler } from './functions/scheduler.ts';
import { SqsPoller, type SqsPollerOptions } from './functions/sqs-poller.ts';
import type {
  FunctionDescription,
  FunctionRole,
  StackDescription,
} from './template/stack-description.ts';
import type { Template } from './template/template.ts';
import { permissionsOf, type Permissions } from './emulators/permissions.ts';
import { startWire, type Wire, type WireOptions } from './emulators/wire.ts';

/** An environment takes about 30 MB; AWS would start one for each concurrent request. */
const apiEnvironmentsMax = 4;
/** The default name of the stack for commands. */
export const localStackName = 'local';
/** The same as the limit of connections of the HTTP front. */
const apiWaitingMax = 4_096;

/** The part of the emulators that a stack uses. */
export type StackEmulators = Omit<Emulators, 'javaPid'>;

export interface LocalStackOptions extends FunctionObserver {
  readonly template: Template;
  /** Contains `<role>/index.mjs`, or the file that the template's handler names instead of `index`. */
  readonly bundlesDirectory: string;
  /** The name of the stack for commands. */
  readonly name?: string;
  /** The prefix of the names of its tables, buckets, queues and functions; `local` by default. */
  readonly resourcePrefix?: string | undefined;
  /** Running emulators, which the stack stops when it stops; it starts its own by default. */
  readonly emulators?: StackEmulators | undefined;
  readonly host?: string;
  /** 0, the default, picks a free port. */
  readonly port?: number;
  readonly disorder?: DisorderOptions | undefined;
  /** The event sources receive no message before it resolves. */
  readonly pollersStartAfter?: Promise<unknown> | undefined;
  /** Overrides the template. */
  readonly visibilityTimeoutSeconds?: number | undefined;
  readonly sweepEveryMs?: number | undefined;
  /** Environment variables of all functions; they override those of the template. */
  readonly variables?: Readonly<Record<string, string>> | undefined;
  /** False disables the throttling of the template's routes. */
  readonly isThrottled?: boolean;
  /** How the HTTP API passes compressed bodies to its functions; default `base64`. */
  readonly compressedAs?: CompressedForm | undefined;
  /** The most environments of each function behind the HTTP API. */
  readonly apiEnvironmentsMax?: number;
  readonly fault?: WireOptions['fault'];
  readonly observeCall?: WireOptions['observe'];
  readonly observeRequest?: ((seen: FrontRequest) => void) | undefined;
  readonly onTrouble?: ((text: string) => void) | undefined;
}

/** A deployed stack on this machine. */
export interface LocalStack {
  /** The URL of the HTTP API. */
  readonly url: string;
  /** The endpoint of all services, for SDK clients (`clientSettings`). */
  readonly endpoint: string;
  readonly description: StackDescription;
  readonly functions: ReadonlyMap<FunctionRole, LambdaFunction>;
  /** Runs the scheduled functions now, and resolves with their last results. */
  runSchedules(): Promise<InvocationResult[]>;
  /** Disables the event sources; received messages are still processed. */
  stopPollers(): Promise<void>;
  /** Resolves if an emulator ends unexpectedly. */
  readonly failed: Promise<Error>;
  /** The calls that functions have tried so far without a permission. */
  readonly refusals: ReadonlySet<string>;
  /** Stops everything, the emulators last; waits up to this time for requests in flight. */
  stop(graceMs?: number): Promise<void>;
}

/**
 * Starts the emulators, creates the resources of the template, and runs its functions with an HTTP
 * front, event sources and schedules. This file leads the folder.
 * @throws JavaMissingError, TemplateError, or what `listen` does
 */
export async function startLocalStack(options: LocalStackOptions): Promise<LocalStack> {
  const emulators = options.emulators ?? (await startEmulators());
  const running: Running = { emulators, functions: new Map(), pollers: [], schedulers: [] };
  try {
    return await startAround(options, running);
  } catch (error) {
    await stopAll(running, 0);
    throw error;
  }
}

/** The parts that have been started so far. */
interface Running {
  readonly emulators: StackEmulators;
  wire?: Wire;
  cloudFormation?: LocalCloudFormation;
  permissions?: Permissions;
  functions: ReadonlyMap<FunctionRole, LambdaFunction>;
  pollers: readonly SqsPoller[];
  schedulers: readonly Scheduler[];
  front?: HttpFront;
}

async function startAround(options: LocalStackOptions, running: Running): Promise<LocalStack> {
  const { emulators } = running;
  const { host = '127.0.0.1', port = 0, fault, observeCall: observe } = options;
  const cloudFormation = () => running.cloudFormation;
  const permissions = () => running.permissions;
  const refusals = new Set<string>();
  const onRefused = (what: string) => {
    if (refusals.has(what)) return;
    refusals.add(what);
    options.onTrouble?.(`AWS would refuse it, too: ${what}`);
  };
  const wire = (running.wire = await startWire({
    ...{ ...emulators, cloudFormation, permissions, onRefused, fault, observe },
  }));
  const reading = {
    endpoint: wire.url,
    ...(options.resourcePrefix !== undefined && { stackName: options.resourcePrefix }),
  };
  const description = adjusted(readTemplate(options.template, reading), options);
  await createResources(description, wire.url);
  running.permissions = permissionsOf(description);
  const functions = (running.functions = createFunctions(options, description, wire.url));
  const functionOf = (role: FunctionRole) => {
    const found = functions.get(role);
    if (found === undefined) throw new Error(`There is no function ${role}`);
    return found;
  };
  const { region, accountId } = description;
  const common = { endpoint: wire.url, region, onTrouble: options.onTrouble };
  running.pollers = description.eventSources.map((eventSource) => {
    const invoke: SqsPollerOptions['invoke'] = (payload, invokeOptions) =>
      functionOf(eventSource.role).invoke(payload, invokeOptions);
    const { disorder, pollersStartAfter: startsAfter } = options;
    return new SqsPoller({ ...common, eventSource, disorder, startsAfter, invoke });
  });
  running.schedulers = description.schedules.map((schedule) => {
    const functionArn = description.functions.find(({ role }) => role === schedule.role)?.arn ?? '';
    const invoke = (payload: string) => functionOf(schedule.role).invoke(payload);
    return startScheduler({ ...common, accountId, schedule, functionArn, invoke });
  });
  const front = (running.front = createHttpFront({
    routes: description.routes.map((route) =>
      options.isThrottled === false ? { ...route, throttle: undefined } : route,
    ),
    accountId,
    invoke: (role, payload) => functionOf(role).invoke(payload),
    observe: options.observeRequest,
    compressedAs: options.compressedAs,
  }));
  const listeningPort = await front.listen(host, port);
  const url = `http://${host.includes(':') ? `[${host}]` : host}:${listeningPort}`;
  running.cloudFormation = localCloudFormation(options.name ?? localStackName, {
    ...description.outputs,
    ApiUrl: url,
  });
  return {
    url,
    endpoint: wire.url,
    description,
    functions,
    runSchedules: () => Promise.all(running.schedulers.map((scheduler) => scheduler.run())),
    async stopPollers() {
      await Promise.all(running.pollers.map((poller) => poller.stop()));
    },
    failed: emulators.failed,
    refusals,
    stop: (graceMs = 2_000) => stopAll(running, graceMs),
  };
}

async function stopAll(running: Running, graceMs: number): Promise<void> {
  const { emulators, wire, functions, pollers, schedulers, front } = running;
  await front?.stop(graceMs);
  // Kill what still runs: the stores that it could write to end in a moment.
  const parts = [...pollers, ...schedulers].map((part) => part.stop());
  await Promise.all([...parts, ...[...functions.values()].map((each) => each.close())]);
  await wire?.stop();
  await emulators.stop();
}

/** The description of the template with the overrides of the options. */
function adjusted(description: StackDescription, options: LocalStackOptions): StackDescription {
  const { visibilityTimeoutSeconds, sweepEveryMs } = options;
  const polled = new Set(description.eventSources.map(({ queueArn }) => queueArn));
  return {
    ...description,
    queues: description.queues.map((queue) => {
      if (visibilityTimeoutSeconds === undefined || !polled.has(queue.arn)) return queue;
      const VisibilityTimeout = String(visibilityTimeoutSeconds);
      return { ...queue, attributes: { ...queue.attributes, VisibilityTimeout } };
    }),
    schedules: description.schedules.map((schedule) => ({
      ...schedule,
      everyMs: sweepEveryMs ?? schedule.everyMs,
    })),
  };
}

function createFunctions(
  options: LocalStackOptions,
  description: StackDescription,
  endpoint: string,
): Map<FunctionRole, LambdaFunction> {
  const created = description.functions.map((described): [FunctionRole, LambdaFunction] => {
    const { role, arn, handler, timeoutMs, memoryMb, environment } = described;
    const [moduleName = '', handlerName = ''] = handler.split('.');
    const settings = {
      ...{ name: role, arn, handlerName, timeoutMs, memoryMb },
      modulePath: join(options.bundlesDirectory, role, `${moduleName}.mjs`),
      variables: (environmentId: string) => ({
        ...clientEnvironment(endpoint, description.region, environmentId),
        AWS_LAMBDA_FUNCTION_NAME: described.name,
        AWS_LAMBDA_FUNCTION_VERSION: '$LATEST',
        AWS_LAMBDA_FUNCTION_MEMORY_SIZE: String(memoryMb),
        AWS_EXECUTION_ENV: 'AWS_Lambda_nodejs24.x',
        AWS_LAMBDA_INITIALIZATION_TYPE: 'on-demand',
        TZ: ':UTC',
        ...environment,
        ...options.variables,
      }),
      ...concurrencyOf(options, description, described),
    };
    return [role, new LambdaFunction(settings, options)];
  });
  return new Map(created);
}

/** How many environments a function may have, and how many invocations may wait. */
function concurrencyOf(
  options: LocalStackOptions,
  description: StackDescription,
  { role, reservedConcurrency = Number.POSITIVE_INFINITY }: FunctionDescription,
): { environmentsMax: number; waitingMax: number } {
  const eventSource = description.eventSources.find((each) => each.role === role);
  if (eventSource !== undefined) {
    const { concurrencyMax } = eventSource;
    return { environmentsMax: Math.min(concurrencyMax, reservedConcurrency), waitingMax: 0 };
  }
  const isBehindApi = description.routes.some((route) => route.role === role);
  if (!isBehindApi) return { environmentsMax: Math.min(1, reservedConcurrency), waitingMax: 8 };
  const most = options.apiEnvironmentsMax ?? apiEnvironmentsMax;
  return { environmentsMax: Math.min(most, reservedConcurrency), waitingMax: apiWaitingMax };
}
