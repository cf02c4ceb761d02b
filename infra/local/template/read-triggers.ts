import type { Item, Items } from './read-template.ts';
import type {
  EventSourceDescription,
  RouteDescription,
  ScheduleDescription,
  ThrottleDescription,
} from './stack-description.ts';
import { TemplateError } from './template.ts';

/** A trigger, after the ARN of the function that it calls. */
type Call<Trigger> = readonly [functionArn: string, trigger: Trigger];

/** The routes of the HTTP API that call functions. */
export function readRoutes(items: Items): Call<RouteDescription>[] {
  const [stage] = items('AWS::ApiGatewayV2::Stage');
  return items('AWS::ApiGatewayV2::Route').map(({ id, properties }) => {
    const routeKey = properties.text('RouteKey');
    if (routeKey.includes('{')) {
      throw new TemplateError(
        `${id} is ${routeKey}; the local engine does not support path parameters`,
      );
    }
    if (properties.text('AuthorizationType', 'NONE') !== 'NONE') {
      throw new TemplateError(`${id} has an authorizer, which the local engine does not support`);
    }
    const role = routeKey === 'POST /ingest' ? 'ingest' : 'query';
    const functionArn = integratedFunction(items, properties.text('Target'), id);
    return [functionArn, { routeKey, role, throttle: readThrottle(stage, routeKey) }];
  });
}

/** The ARN of the function that a target, `integrations/<id>`, calls. */
function integratedFunction(items: Items, target: string, where: string): string {
  const integration = items('AWS::ApiGatewayV2::Integration').find(
    ({ ref }) => target === `integrations/${ref}`,
  );
  if (integration === undefined) {
    throw new TemplateError(`${where} names ${target}, which is not one of the template`);
  }
  const { id, properties } = integration;
  const version = properties.text('PayloadFormatVersion');
  if (version === '2.0') return properties.text('IntegrationUri');
  throw new TemplateError(`${id}.PayloadFormatVersion must be 2.0 here, got ${version}`);
}

/** The limits of a route: its own or the stage's; undefined if there are none. */
function readThrottle(stage: Item | undefined, routeKey: string): ThrottleDescription | undefined {
  const own = stage?.properties.part('RouteSettings');
  const settings = own?.has(routeKey)
    ? own.part(routeKey)
    : stage?.properties.part('DefaultRouteSettings');
  if (settings?.has('ThrottlingRateLimit') !== true) return undefined;
  const ratePerSecond = settings.number('ThrottlingRateLimit', 0);
  return { ratePerSecond, burst: settings.number('ThrottlingBurstLimit', ratePerSecond) };
}

export function readEventSources(items: Items): Call<EventSourceDescription>[] {
  return items('AWS::Lambda::EventSourceMapping').map(({ id, properties }) => {
    const queueArn = properties.text('EventSourceArn');
    const eventSource: EventSourceDescription = {
      role: 'process',
      queueArn,
      queueUrl: queueUrlOf(items, queueArn, id),
      batchSize: properties.number('BatchSize', 10),
      windowMs: properties.number('MaximumBatchingWindowInSeconds', 0) * 1000,
      // The default is the account's concurrency; a machine has fewer cores.
      concurrencyMax: properties.part('ScalingConfig').number('MaximumConcurrency', 5),
      reportsItemFailures: properties
        .list('FunctionResponseTypes')
        .includes('ReportBatchItemFailures'),
    };
    return [functionArnOf(items, properties.text('FunctionName')), eventSource];
  });
}

export function readSchedules(items: Items): Call<ScheduleDescription>[] {
  return items('AWS::Events::Rule').flatMap(({ id, arn: ruleArn, properties }) =>
    properties.parts('Targets').map((target) => {
      if (target.has('Input')) {
        throw new TemplateError(`${id} has Input, which the local engine does not support`);
      }
      const functionArn = target.text('Arn');
      const everyMs = rateMs(properties.text('ScheduleExpression'), id);
      const failure = failureHandling(items, functionArn);
      return [functionArn, { role: 'sweep', ruleArn, everyMs, ...failure }] as const;
    }),
  );
}

/** The retries and the failure destination of asynchronous invocations. */
function failureHandling(
  items: Items,
  functionArn: string,
): Pick<ScheduleDescription, 'retriesMax' | 'failureQueueUrl'> {
  for (const { id, properties } of items('AWS::Lambda::EventInvokeConfig')) {
    if (functionArnOf(items, properties.text('FunctionName')) !== functionArn) continue;
    const onFailure = properties.part('DestinationConfig').part('OnFailure');
    return {
      retriesMax: properties.number('MaximumRetryAttempts', 2),
      failureQueueUrl: onFailure.has('Destination')
        ? queueUrlOf(items, onFailure.text('Destination'), id)
        : undefined,
    };
  }
  return { retriesMax: 2, failureQueueUrl: undefined };
}

/** A function may be named or given by its ARN. */
function functionArnOf(items: Items, nameOrArn: string): string {
  const found = items('AWS::Lambda::Function').find(({ ref }) => ref === nameOrArn);
  return found?.arn ?? nameOrArn;
}

function queueUrlOf(items: Items, queueArn: string, where: string): string {
  const found = items('AWS::SQS::Queue').find(({ arn }) => arn === queueArn);
  if (found !== undefined) return found.ref;
  throw new TemplateError(`${where} names ${queueArn}, which is not a queue of the template`);
}

function rateMs(expression: string, id: string): number {
  const [, count, unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
  const unitMs = { minute: 60_000, hour: 3_600_000, day: 86_400_000 }[unit ?? ''];
  if (unitMs !== undefined) return Number(count) * unitMs;
  throw new TemplateError(`${id} is due at ${expression}; the local engine supports only rate(…)`);
}
