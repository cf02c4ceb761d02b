import type { Item, Reading } from './read-template.ts';
import type {
  EventSourceDescription,
  FunctionRole,
  RouteDescription,
  ScheduleDescription,
  ThrottleDescription,
} from './stack-description.ts';
import { listOf, numberOf, propertiesOf, TemplateError, textOf } from './template.ts';

/** Returns the function of an ARN. */
type RoleFor = (functionArn: unknown, where: string, routeKey: string) => FunctionRole;

/** The routes of the HTTP API that call functions. */
export function readRoutes(reading: Reading, roleFor: RoleFor): RouteDescription[] {
  const integrations = new Map<string, unknown>();
  for (const { id, properties } of reading.items('AWS::ApiGatewayV2::Integration')) {
    const where = `${id}.PayloadFormatVersion`;
    const version = textOf(properties['PayloadFormatVersion'], where);
    if (version !== '2.0') throw new TemplateError(`${where} must be 2.0 here, got ${version}`);
    integrations.set(id, reading.resolve(properties['IntegrationUri'], `${id}.IntegrationUri`));
  }
  return reading.items('AWS::ApiGatewayV2::Route').map(({ id, properties }) => {
    const routeKey = textOf(properties['RouteKey'], `${id}.RouteKey`);
    if (routeKey.includes('{')) {
      throw new TemplateError(
        `${id} is ${routeKey}; the local engine does not support path parameters`,
      );
    }
    const authorization = properties['AuthorizationType'] ?? 'NONE';
    if (authorization !== 'NONE') {
      throw new TemplateError(`${id} has an authorizer, which the local engine does not support`);
    }
    const target = textOf(reading.resolve(properties['Target'], `${id}.Target`), `${id}.Target`);
    const functionArn = integrations.get(target.replace(/^integrations\//, ''));
    const role = roleFor(functionArn, `The integration of ${id}`, routeKey);
    return { routeKey, role, throttle: readThrottle(reading, routeKey) };
  });
}

/** The limits of a route: its own or the stage's; undefined if there are none. */
function readThrottle(reading: Reading, routeKey: string): ThrottleDescription | undefined {
  const [stage] = reading.items('AWS::ApiGatewayV2::Stage');
  if (stage === undefined) return undefined;
  const { RouteSettings, DefaultRouteSettings } = stage.properties;
  const where = `${stage.id}.RouteSettings`;
  const own = propertiesOf(RouteSettings, where)[routeKey];
  const settings = propertiesOf(own ?? DefaultRouteSettings, where);
  const rate = settings['ThrottlingRateLimit'];
  if (rate === undefined) return undefined;
  const ratePerSecond = numberOf(rate, 0, where);
  const burst = numberOf(settings['ThrottlingBurstLimit'], ratePerSecond, where);
  return { ratePerSecond, burst };
}

export function readEventSources(reading: Reading, roleFor: RoleFor): EventSourceDescription[] {
  return reading.items('AWS::Lambda::EventSourceMapping').map(({ id, properties }) => {
    const value = (name: string) => reading.resolve(properties[name], `${id}.${name}`);
    const queueArn = textOf(value('EventSourceArn'), `${id}.EventSourceArn`);
    const scaling = propertiesOf(value('ScalingConfig'), `${id}.ScalingConfig`);
    const responses = listOf(value('FunctionResponseTypes'), id);
    if (properties['FilterCriteria'] !== undefined) {
      throw new TemplateError(`${id} has FilterCriteria, which the local engine does not apply`);
    }
    return {
      role: roleFor(functionArnOf(reading, value('FunctionName'), id), id, ''),
      queueArn,
      queueUrl: queueUrlOf(reading, queueArn, id),
      batchSize: numberOf(value('BatchSize'), 10, `${id}.BatchSize`),
      windowMs: numberOf(value('MaximumBatchingWindowInSeconds'), 0, id) * 1000,
      // The default is the account's concurrency; a machine has fewer cores.
      concurrencyMax: numberOf(scaling['MaximumConcurrency'], 5, id),
      reportsItemFailures: responses.includes('ReportBatchItemFailures'),
    };
  });
}

export function readSchedules(reading: Reading, roleFor: RoleFor): ScheduleDescription[] {
  const rules = reading.items('AWS::Events::Rule').flatMap((rule) => {
    const targets = listOf(rule.properties['Targets'], `${rule.id}.Targets`);
    return targets.map((target) => readSchedule(reading, roleFor, rule, target));
  });
  const schedules = reading
    .items('AWS::Scheduler::Schedule')
    .map((item) => readSchedule(reading, roleFor, item, item.properties['Target']));
  return [...rules, ...schedules];
}

function readSchedule(
  reading: Reading,
  roleFor: RoleFor,
  { id, properties }: Item,
  rawTarget: unknown,
): ScheduleDescription {
  const target = propertiesOf(rawTarget, `${id}.Target`);
  const functionArn = reading.resolve(target['Arn'], `${id}.Target.Arn`);
  const input = target['Input'];
  const failure = failureHandling(reading, functionArn);
  return {
    role: roleFor(functionArn, id, ''),
    ruleArn: reading.physicalOf(id).attributes['Arn'] ?? '',
    everyMs: rateMs(textOf(properties['ScheduleExpression'], `${id}.ScheduleExpression`), id),
    input: input === undefined ? undefined : textOf(reading.resolve(input, id), `${id}.Input`),
    ...failure,
  };
}

/** The retries and the failure destination of asynchronous invocations. */
function failureHandling(
  reading: Reading,
  functionArn: unknown,
): Pick<ScheduleDescription, 'retriesMax' | 'failureQueueUrl'> {
  for (const { id, properties } of reading.items('AWS::Lambda::EventInvokeConfig')) {
    const name = reading.resolve(properties['FunctionName'], `${id}.FunctionName`);
    if (functionArnOf(reading, name, id) !== functionArn) continue;
    const where = `${id}.DestinationConfig`;
    const destinations = propertiesOf(
      reading.resolve(properties['DestinationConfig'], where),
      where,
    );
    const onFailure = propertiesOf(destinations['OnFailure'], where)['Destination'];
    return {
      retriesMax: numberOf(properties['MaximumRetryAttempts'], 2, `${id}.MaximumRetryAttempts`),
      failureQueueUrl:
        onFailure === undefined ? undefined : queueUrlOf(reading, textOf(onFailure, where), where),
    };
  }
  return { retriesMax: 2, failureQueueUrl: undefined };
}

/** A function may be named or given by its ARN. */
function functionArnOf(reading: Reading, nameOrArn: unknown, where: string): string {
  const given = textOf(nameOrArn, where);
  const found = reading
    .items('AWS::Lambda::Function')
    .map(({ id }) => reading.physicalOf(id))
    .find(({ ref, attributes }) => ref === given || attributes['Arn'] === given);
  return found?.attributes['Arn'] ?? given;
}

function queueUrlOf(reading: Reading, queueArn: string, where: string): string {
  const found = reading
    .items('AWS::SQS::Queue')
    .map(({ id }) => reading.physicalOf(id))
    .find(({ attributes }) => attributes['Arn'] === queueArn);
  if (found !== undefined) return found.ref;
  throw new TemplateError(`${where} names ${queueArn}, which is not a queue of the template`);
}

function rateMs(expression: string, id: string): number {
  const [, count, unit] = /^rate\((\d+) (minute|hour|day)s?\)$/.exec(expression) ?? [];
  const unitMs = { minute: 60_000, hour: 3_600_000, day: 86_400_000 }[unit ?? ''];
  if (unitMs !== undefined) return Number(count) * unitMs;
  throw new TemplateError(`${id} is due at ${expression}; the local engine supports only rate(…)`);
}
