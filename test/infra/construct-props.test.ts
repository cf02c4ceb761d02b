import { App, CfnParameter, Lazy, RemovalPolicy, Stack, Stage } from 'aws-cdk-lib';
import { HttpNoneAuthorizer, type CfnRoute } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer, HttpJwtAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { Certificate } from 'aws-cdk-lib/aws-certificatemanager';
import {
  AttributeType,
  Table,
  TableV2,
  type ITable,
  type TableProps,
} from 'aws-cdk-lib/aws-dynamodb';
import { SubnetType, Vpc, type IVpc } from 'aws-cdk-lib/aws-ec2';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { RetentionDays } from 'aws-cdk-lib/aws-logs';
import { Bucket, type IBucket } from 'aws-cdk-lib/aws-s3';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, test } from 'vitest';

import { DevicePipeline, type DevicePipelineProps } from '../../infra/construct/index.ts';
import { cdkContext, standInBundles, temporaryDirectory, type Json } from './support.ts';

const bundlesDirectory = standInBundles();
const cyclic: Record<string, unknown> = {};
cyclic['itself'] = cyclic;

function newStack(name = 'Shop', env = {}): Stack {
  return new Stack(newApp(), name, { env });
}

function newApp(): App {
  return new App({ context: cdkContext, outdir: temporaryDirectory() });
}

function addPipeline(stack: Stack, props: DevicePipelineProps, id = 'Pipeline'): DevicePipeline {
  return new DevicePipeline(stack, id, { ...props, bundlesDirectory });
}

function problemsOf(props: object, stack = newStack()): string[] {
  try {
    addPipeline(stack, props);
    return [];
  } catch (error) {
    const { message } = error as Error;
    expect(message).toMatch(/^DevicePipeline Shop\/Pipeline: /);
    return message.replace('DevicePipeline Shop/Pipeline: ', '').split('\n');
  }
}

describe('a prop that is not allowed is named, with what to do', () => {
  test.each<[props: object, problem: string, got?: string]>([
    [{ throttleRate: 0 }, 'throttleRate must be a whole number from 1 to 100000, got 0.'],
    [{ dayZone: 'Mars' }, "dayZone must be 'as-written', 'UTC' or the name of a", "'Mars'"],
    [{ tokens: 'off' }, "tokens must be true or false, got 'off'."],
    [{ corsOrigins: '*' }, "corsOrigins must be a list of origins, got '*'."],
    [{ corsOrigins: ['app'] }, 'corsOrigins must be origins such as', '["app"]'],
    [{ pipelineName: 'a b' }, 'pipelineName must be letters, digits, dots', "'a b'"],
    [{ logRetentionDays: 2 }, 'logRetentionDays must be one of 1, 3, 5,', '2'],
    [{ removalPolicy: RemovalPolicy.SNAPSHOT }, 'removalPolicy must be Rem', "'snapshot'"],
    [{ rawExpiryDays: 60 }, 'rawExpiryDays must be at least keepReceiptsDays (90), got 60:'],
    [{ batchWindowSeconds: 0 }, 'batchWindowSeconds must be 1 or more if batchSize', '0'],
    [{ ingestScopes: ['write'] }, 'ingestScopes needs an authorizer: new HttpJwtAuthorizer(…).'],
    [{ authorizer: new HttpNoneAuthorizer() }, 'HttpNoneAuthorizer, which lets everyone in;'],
    [
      { authorizer: new HttpIamAuthorizer(), ingestScopes: ['write'] },
      'ingestScopes needs a JWT authorizer',
    ],
    [{ vpcSubnets: {} }, 'vpcSubnets has no effect without vpc; add vpc or remove vpcSubnets.'],
    [{ throtleRate: 5 }, 'There is no prop throtleRate; did you mean throttleRate?'],
    [{ stackName: 'x' }, 'There is no prop stackName'],
    [{ vpcs: [], alarmTopic: null }, 'alarmTopic is null; omit it to get its default.'],
    [{ authorizer: null }, 'authorizer is null; omit it to get its default.'],
    [
      { domain: { domainName: 'e.example', basePath: '/v1' } },
      "domain.basePath must be a path such as 'events'",
      "'/v1'",
    ],
    [{ domain: {} }, "domain.domainName is missing: a name such as 'events.example.org'."],
    [{ domain: { domainName: 'e.example' } }, 'domain.certificate is missing: a certificate for'],
    [
      { domain: { domainName: 'https://e.example/' } },
      "domain.domainName must be a name such as 'events.example.org',",
      "'https://e.example/'",
    ],
    [
      { tokens: true, authorizer: new HttpIamAuthorizer() },
      'tokens and authorizer both read the header Authorization; remove one of the two.',
    ],
    [{ alarmTopic: 'arn:x' }, 'alarmTopic must be a topic, such as new Topic(', "'arn:x'"],
    [{ rawBucket: 'raw' }, 'rawBucket must be a bucket, such as Bucket.fromBucketN', "'raw'"],
    [{ countersTable: {} }, 'countersTable must be a table, such as Table.fromTable', '{}'],
    [{ ledgerTable: 'x' }, 'ledgerTable must be a table, such as Table.fromTableName(', "'x'"],
    [{ vpc: 'vpc-1' }, 'vpc must be a VPC, such as Vpc.fromLookup(', "'vpc-1'"],
    [{ vpcSubnets: 'a' }, 'vpcSubnets must be a selection of subnets', "'a'"],
    [{ vpcSubnets: [] }, 'vpcSubnets must be a selection of subnets', '[]'],
    [{ alarmTopic: Topic }, 'alarmTopic must be a topic', 'a class or function'],
    [{ domain: { domainName: {} } }, 'domain.domainName must be a name such as', '{}'],
    [{ domain: { domainName: 'e.example', basePath: 5 } }, 'domain.basePath must be', '5'],
    [
      { domain: { domainName: 'e.example', basepath: 'x' } },
      'There is no prop domain.basepath; did you mean domain.basePath?',
    ],
    [{ securityGroups: ['sg'] }, 'securityGroups must be a list of security groups', '["sg"]'],
    [{ authorizer: 'IAM' }, 'authorizer must be an authorizer, such as new HttpIam', "'IAM'"],
    [{ ingestScopes: 'write' }, 'ingestScopes must be a list of scopes', "'write'"],
    [{ queryScopes: [1] }, 'queryScopes must be a list of scopes', '[1]'],
    [{ domain: 'e.example' }, 'domain must be an object with domainName', "'e.example'"],
    [
      { domain: { domainName: 'e.example', certificate: 'arn:x' } },
      'domain.certificate must be a certificate, such as Certificate.from',
      "'arn:x'",
    ],
  ])('%j', (props, problem, got) => {
    const named = problemsOf(props).filter((text) => text.includes(problem));
    expect(named).toEqual([expect.stringContaining(got === undefined ? '' : `, got ${got}.`)]);
  });

  test.each<[props: object, problem: string, got: string]>([
    [{ alarmTopic: [cyclic] }, 'alarmTopic must be a topic, such as', 'a list of objects'],
    [{ vpc: { cyclic } }, 'vpc must be a VPC, such as', 'an object of another kind'],
    [{ keepReceiptsDays: 60n }, 'keepReceiptsDays must be', 'an object of another kind'],
  ])('also what has no form in JSON: %#', (props, problem, got) => {
    const problems = problemsOf(props);
    expect(problems).toEqual([expect.stringContaining(problem)]);
    expect(problems).toEqual([expect.stringContaining(`, got ${got}.`)]);
  });

  test('one resource in place of another', () => {
    const stack = newStack();
    expect(problemsOf({ rawBucket: new Topic(stack, 'Topic') }, stack)).toEqual([
      expect.stringMatching(
        /^rawBucket must be a bucket, such as .*, got Shop\/Topic\.$/,
      ) as string,
    ]);
  });

  test.each([
    [{}, 'but vpc has only public ones.'],
    [{ vpcSubnets: { subnetType: SubnetType.PUBLIC } }, 'but selects public ones.'],
    [{ vpcSubnets: { subnets: [] } }, 'but selects none.'],
    [{ vpcSubnets: { subnetGroupName: 'none' } }, ": There are no subnet groups with name 'none'"],
  ])('a VPC whose functions would reach nothing: %j', (props, problem) => {
    const stack = newStack();
    const subnetConfiguration = [{ name: 'open', subnetType: SubnetType.PUBLIC }];
    const vpc = new Vpc(stack, 'Vpc', { natGateways: 0, subnetConfiguration });
    expect(problemsOf({ ...props, vpc }, stack)).toEqual([expect.stringContaining(problem)]);
  });

  test('null in place of all props', () => {
    expect(() => new DevicePipeline(newStack(), 'Pipeline', null as never)).toThrow(
      'DevicePipeline Shop/Pipeline: props must be an object or omitted, got null.',
    );
  });

  test('all at once', () => {
    expect(problemsOf({ batchSize: 1, queryThrottleBurst: -1, vpcSubnets: {} })).toHaveLength(3);
  });

  test('a token where the value decides what is deployed', () => {
    const stack = newStack();
    const parameter = new CfnParameter(stack, 'Days', { type: 'Number' });
    expect(problemsOf({ rawExpiryDays: parameter.valueAsNumber }, stack)).toEqual([
      'rawExpiryDays must be known at synthesis, got a token.',
    ]);
  });

  test('a resource in another region', () => {
    const app = newApp();
    const there = new Stack(app, 'There', { env: { region: 'eu-west-1', account: '1' } });
    const here = new Stack(app, 'Shop', { env: { region: 'us-east-1', account: '1' } });
    expect(problemsOf({ alarmTopic: new Topic(there, 'Topic') }, here)).toEqual([
      'alarmTopic must be in the region of the stack (us-east-1), got eu-west-1.',
    ]);
  });
});

describe('a resource that its name or ARN places elsewhere is refused', () => {
  const here = { region: 'eu-west-1', account: '111111111111' };
  const certificateIn = (stack: Stack, place: string) =>
    Certificate.fromCertificateArn(stack, 'Own', `arn:aws:acm:${place}:certificate/1`);
  const tablesIn = (stack: Stack, place: string) => ({
    countersTable: Table.fromTableArn(stack, 'C', `arn:aws:dynamodb:${place}:table/counters`),
    ledgerTable: Table.fromTableArn(stack, 'L', `arn:aws:dynamodb:${place}:table/ledger`),
  });

  test('tables and a certificate of another region', () => {
    const stack = newStack('Shop', here);
    const certificate = certificateIn(stack, 'us-east-1:111111111111');
    const domain = { domainName: 'e.example', certificate };
    const tables = tablesIn(stack, 'us-east-1:111111111111');
    const isIn = 'must be in the region of the stack (eu-west-1), got us-east-1.';
    expect(problemsOf({ ...tables, domain }, stack)).toEqual([
      `countersTable ${isIn}`,
      `ledgerTable ${isIn}`,
      `domain.certificate ${isIn}`,
    ]);
  });

  test('tables of another account', () => {
    const stack = newStack('Shop', here);
    const isOf = 'must be of the account of the stack (111111111111), got 222222222222.';
    expect(problemsOf(tablesIn(stack, 'eu-west-1:222222222222'), stack)).toEqual([
      `countersTable ${isOf}`,
      `ledgerTable ${isOf}`,
    ]);
  });

  test('but not those of the same place, nor those of a place that the deployment decides', () => {
    for (const stack of [newStack('Shop', here), newStack('Shop')]) {
      expect(problemsOf(tablesIn(stack, 'eu-west-1:111111111111'), stack)).toEqual([]);
    }
  });
});

describe('two pipelines of an app cannot share', () => {
  const messageOf = (props: DevicePipelineProps, stack: Stack) => {
    try {
      addPipeline(stack, props, 'Second');
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };

  test('a bucket or tables, whether one creates them or they are imported', () => {
    const [stack, other] = twoStacks();
    const { rawBucket, countersTable, ledgerTable } = addPipeline(stack, {});
    expect(messageOf({ rawBucket, countersTable, ledgerTable }, other)).toBe(
      [
        'DevicePipeline Other/Second: rawBucket is already used by Shop/Pipeline; each pipeline needs its own.',
        'countersTable is already used by Shop/Pipeline; each pipeline needs its own.',
        'ledgerTable is already used by Shop/Pipeline; each pipeline needs its own.',
      ].join('\n'),
    );
    const [here, there] = twoStacks();
    const bucketIn = (scope: Stack) => Bucket.fromBucketName(scope, 'Bucket', 'bodies');
    addPipeline(here, { rawBucket: bucketIn(here) });
    expect(messageOf({ rawBucket: bucketIn(there) }, there)).toContain(
      'rawBucket is already used by',
    );
  });

  test('tables of one name, unless they are in two places', () => {
    const app = newApp();
    const at = (id: string, region: string) =>
      new Stack(app, id, { env: { account: '111111111111', region } });
    const byName = (stack: Stack) => ({
      countersTable: Table.fromTableName(stack, 'C', 'counters'),
      ledgerTable: Table.fromTableName(stack, 'L', 'ledger'),
    });
    const [here, there, again] = [at('A', 'eu-west-1'), at('B', 'us-east-1'), at('C', 'eu-west-1')];
    addPipeline(here, byName(here));
    expect(messageOf(byName(there), there)).toBe('');
    expect(messageOf(byName(again), again)).toContain('ledgerTable is already used by A/Pipeline');
    // The stages of an app are deployed with credentials of their own.
    const stages = ['Test', 'Live'].map((id) => new Stack(new Stage(newApp(), id), 'Shop'));
    for (const stack of stages) expect(messageOf(byName(stack), stack)).toBe('');
  });

  test('a name, if they are in one place', () => {
    const [stack, other] = twoStacks();
    addPipeline(stack, { pipelineName: 'fleet' });
    expect(messageOf({ pipelineName: 'fleet' }, other)).toContain(
      "pipelineName 'fleet' is already used by Shop/Pipeline; choose another.",
    );
  });

  function twoStacks(): [Stack, Stack] {
    const app = newApp();
    return [new Stack(app, 'Shop'), new Stack(app, 'Other')];
  }
});

test('the access log of a renamed construct has another name, although the pipeline has not', () => {
  const [before, after] = ['Events', 'Renamed'].map((id) => {
    const stack = newStack();
    addPipeline(stack, { pipelineName: 'fleet' }, id);
    const groups = Object.values(Template.fromStack(stack).findResources('AWS::Logs::LogGroup'));
    const names = groups.flatMap(({ Properties }) => {
      const { LogGroupName: name } = Properties as { LogGroupName?: string };
      return name ?? [];
    });
    expect(names).toHaveLength(1);
    expect(names[0]).toMatch(/^\/aws\/vendedlogs\/device-pipeline\/fleet-[0-9a-f]{8}\/access$/);
    return names[0];
  });
  expect(after).not.toBe(before);
});

test('origins may be tokens, beside others that are checked', () => {
  const stack = newStack();
  const origin = `https://${Lazy.string({ produce: () => 'd1.cloudfront.example' })}`;
  addPipeline(stack, { corsOrigins: ['https://app.example', origin] });
  const functions = Template.fromStack(stack).findResources('AWS::Lambda::Function');
  expect(JSON.stringify(functions)).toContain(
    '"CORS_ORIGINS":"https://app.example,https://d1.cloudfront.example"',
  );
  expect(problemsOf({ corsOrigins: ['app', origin] }).join()).toContain('must be origins such as');
});

describe('access', () => {
  const routesOf = (stack: Stack) => {
    const routes = Template.fromStack(stack).findResources('AWS::ApiGatewayV2::Route');
    const properties = Object.values(routes).map(({ Properties }) => Properties as Json);
    return new Map(properties.map((each) => [each['RouteKey'], each]));
  };

  test('by IAM: grantIngest allows POST /ingest, grantReadCounters the table and GET', () => {
    const stack = newStack();
    const pipeline = addPipeline(stack, { authorizer: new HttpIamAuthorizer() });
    const role = () => ({ assumedBy: new ServicePrincipal('ecs-tasks.amazonaws.com') });
    pipeline.grantIngest(new Role(stack, 'Gateway', role()));
    pipeline.grantReadCounters(new Role(stack, 'Analyst', role()));
    for (const { AuthorizationType } of routesOf(stack).values()) {
      expect(AuthorizationType).toBe('AWS_IAM');
    }
    expect(routesOf(stack).size).toBe(2);
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::SecretsManager::Secret', 0);
    const policyOf = (role: string) => {
      const policies = Object.entries(template.findResources('AWS::IAM::Policy'));
      const found = policies.filter(([id]) => id.startsWith(`${role}DefaultPolicy`));
      expect(found).toHaveLength(1);
      return JSON.stringify(found);
    };
    expect(policyOf('Gateway').match(/"Action"/g)).toHaveLength(1);
    expect(policyOf('Gateway')).toMatch(/"Action":"execute-api:Invoke".*\/\*\/POST\/ingest"/);
    expect(policyOf('Analyst')).toMatch(/dynamodb:Query.*\/\*\/GET\/\*"/);
    expect(policyOf('Analyst')).not.toMatch(/dynamodb:(Put|Update|Delete|BatchWrite)|Ledger/);
  });

  test('by tokens: grantIngest says what is needed instead', () => {
    const stack = newStack();
    const pipeline = addPipeline(stack, {});
    const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('x.amazonaws.com') });
    expect(() => pipeline.grantIngest(role)).toThrow(
      'grantIngest of Shop/Pipeline needs authorizer: new HttpIamAuthorizer(). Otherwise clients need',
    );
    pipeline.grantReadCounters(role);
    expect(JSON.stringify(Template.fromStack(stack))).not.toContain('execute-api:Invoke');
  });

  test('by JWT: with scopes for each route, and preflight requests without', () => {
    const stack = newStack();
    const authorizer = new HttpJwtAuthorizer('Jwt', 'https://issuer.example', {
      jwtAudience: ['shop'],
    });
    addPipeline(stack, {
      ...{ authorizer, ingestScopes: ['write'], queryScopes: ['read'] },
      corsOrigins: ['https://app.example'],
    });
    expect(Object.fromEntries(routesOf(stack))).toMatchObject({
      'POST /ingest': { AuthorizationType: 'JWT', AuthorizationScopes: ['write'] },
      $default: { AuthorizationType: 'JWT', AuthorizationScopes: ['read'] },
      'OPTIONS /{proxy+}': { AuthorizationType: 'NONE' },
    });
    expect(() => addPipeline(stack, { authorizer }, 'Second')).toThrow(
      'DevicePipeline Shop/Second: authorizer is already used by Shop/Pipeline; create one for each',
    );
  });

  test('to a function URL: by tokens or IAM, as to the API, and not by others', () => {
    const urlOf = (stack: Stack) => {
      const [url] = Object.values(Template.fromStack(stack).findResources('AWS::Lambda::Url'));
      return (url as { Properties: Json } | undefined)?.Properties['AuthType'];
    };
    const [byTokens, byIam] = [newStack(), newStack()];
    const { tokensSecret } = addPipeline(byTokens, { functionUrl: true });
    expect([tokensSecret === undefined, urlOf(byTokens)]).toEqual([false, 'NONE']);
    const authorizer = new HttpIamAuthorizer();
    const pipeline = addPipeline(byIam, { functionUrl: true, authorizer });
    pipeline.grantIngest(
      new Role(byIam, 'Gateway', { assumedBy: new ServicePrincipal('ecs-tasks.amazonaws.com') }),
    );
    expect(urlOf(byIam)).toBe('AWS_IAM');
    const policy = JSON.stringify(
      Object.entries(Template.fromStack(byIam).findResources('AWS::IAM::Policy')).filter(([id]) =>
        id.startsWith('Gateway'),
      ),
    );
    expect(policy).toMatch(/execute-api:Invoke.*lambda:InvokeFunctionUrl/);
    expect(urlOf(newStackWith({}))).toBeUndefined();
    const jwt = new HttpJwtAuthorizer('Jwt', 'https://issuer.example', { jwtAudience: ['shop'] });
    expect(problemsOf({ functionUrl: true, authorizer: jwt })).toEqual([
      'functionUrl supports only tokens or IAM, but authorizer is of another kind; remove one of the two.',
    ]);
  });

  function newStackWith(props: DevicePipelineProps): Stack {
    const stack = newStack();
    addPipeline(stack, props);
    return stack;
  }

  test('by IAM, one authorizer serves two pipelines', () => {
    const stack = newStack();
    const authorizer = new HttpIamAuthorizer();
    addPipeline(stack, { authorizer });
    const { ingestRoute } = addPipeline(stack, { authorizer }, 'Second');
    expect((ingestRoute.node.defaultChild as CfnRoute).authorizationType).toBe('AWS_IAM');
  });
});

describe('a custom domain', () => {
  const stack = newStack();
  const certificate = Certificate.fromCertificateArn(
    stack,
    'Certificate',
    'arn:aws:acm:us-east-1:111111111111:certificate/1',
  );
  const domain = { domainName: 'events.example.org', certificate };
  const pipeline = addPipeline(stack, { domain: { ...domain, basePath: 'fleet' } });

  test('maps its path to the API, and is the URL; commands use the address of the API', () => {
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::ApiGatewayV2::DomainName', {
      DomainName: 'events.example.org',
    });
    template.hasResourceProperties('AWS::ApiGatewayV2::ApiMapping', {
      ApiId: stack.resolve(pipeline.api.apiId) as object,
      ApiMappingKey: 'fleet',
    });
    template.hasResourceProperties('AWS::Lambda::Function', {
      Environment: { Variables: Match.objectLike({ BASE_PATH: 'fleet' }) },
    });
    expect(JSON.stringify(stack.resolve(pipeline.url))).toMatch(/\["https:\/\/",.*"\/fleet"\]/);
    expect(JSON.stringify(template.findOutputs('*'))).toMatch(/ApiUrl[^}]*ApiEndpoint/);
    expect(pipeline.domainName?.regionalDomainName).toBeDefined();
  });

  test('without a path is its root', () => {
    const other = newStack();
    const { url } = addPipeline(other, { domain });
    expect(JSON.stringify(other.resolve(url))).not.toMatch(/\/"\]\]\}$/);
  });

  test('is one for several pipelines, each with its own path', () => {
    const shared = newStack();
    const first = addPipeline(shared, { domain: { ...domain, basePath: 'one' } });
    if (first.domainName === undefined) expect.fail('no domain name');
    const { domainName } = first;
    const second = addPipeline(shared, { domain: { domainName, basePath: 'two' } }, 'Second');
    const template = Template.fromStack(shared);
    template.resourceCountIs('AWS::ApiGatewayV2::DomainName', 1);
    template.resourceCountIs('AWS::ApiGatewayV2::ApiMapping', 2);
    expect(JSON.stringify(shared.resolve(second.url))).toContain('/two"');
    const refusals: [string, DevicePipelineProps['domain'], string][] = [
      [
        ...(['Third', { domainName, basePath: 'two' }] as const),
        "domain.basePath 'two' is already used by Shop/Second; each pipeline of a domain needs its own.",
      ],
      [
        ...(['Fourth', { ...domain, basePath: 'four' }] as const),
        "domain.domainName 'events.example.org' is already used by Shop/Pipeline; give the property",
      ],
      [
        ...(['Fifth', { domainName, certificate }] as const),
        'domain.certificate has no effect with an existing DomainName; remove it.',
      ],
    ];
    for (const [id, given, problem] of refusals) {
      expect(() => addPipeline(shared, { ...(given && { domain: given }) }, id)).toThrow(problem);
    }
  });

  test('is not needed', () => {
    expect(addPipeline(newStack(), {}).domainName).toBeUndefined();
  });
});

describe('existing resources', () => {
  const text = (name: string) => ({ name, type: AttributeType.STRING });
  const countersKeys = { partitionKey: text('date'), sortKey: text('type_state') };
  const ledgerKeys = {
    ...{ partitionKey: text('id'), sortKey: text('entry') },
    timeToLiveAttribute: 'expires_at',
  };
  const tables = (stack: Stack, counters: TableProps, ledger: TableProps) => ({
    countersTable: new Table(stack, 'OldCounters', counters) as ITable,
    ledgerTable: new Table(stack, 'OldLedger', ledger) as ITable,
  });

  test('with keys of the customer: each function may use those that it needs', () => {
    const stack = newStack();
    const encryptionKey = new Key(stack, 'Key');
    const rawBucket = new Bucket(stack, 'Old', { encryptionKey }) as IBucket;
    const own = { encryptionKey };
    addPipeline(stack, {
      rawBucket,
      ...tables(stack, { ...countersKeys, ...own }, { ...ledgerKeys, ...own }),
    });
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::S3::Bucket', 1);
    template.resourceCountIs('AWS::DynamoDB::Table', 2);
    const policies = template.findResources('AWS::IAM::Policy') as Record<
      string,
      { Properties: Json }
    >;
    const keyActions = (name: string) => {
      const [, policy] = Object.entries(policies).find(([id]) => id.includes(`${name}Role`)) ?? [];
      return new Set(JSON.stringify(policy?.Properties).match(/kms:\w+/g));
    };
    for (const name of ['Ingest', 'Process', 'Sweep']) {
      expect(keyActions(name)).toContain('kms:GenerateDataKey');
    }
    expect(keyActions('Query')).toEqual(new Set(['kms:Decrypt', 'kms:DescribeKey']));
  });

  test('with a key for the bucket alone: the functions that store bodies may use it', () => {
    const stack = newStack();
    const encryptionKey = new Key(stack, 'Key');
    addPipeline(stack, {
      rawBucket: new Bucket(stack, 'Old', { encryptionKey }) as IBucket,
      smallBodies: 'queue',
    });
    const policies = Template.fromStack(stack).findResources('AWS::IAM::Policy');
    const storing = Object.entries(policies).filter(([, policy]) =>
      JSON.stringify(policy).includes('kms:GenerateDataKey'),
    );
    const names = storing.map(([id]) => /(Ingest|Process|Query|Sweep)Role/.exec(id)?.[1]);
    expect(names.sort()).toEqual(['Ingest', 'Process', 'Sweep']);
  });

  test('keep their own lifecycle rules, so that bodies may expire before they would have moved', () => {
    const stack = newStack();
    const rawBucket = Bucket.fromBucketName(stack, 'Bucket', 'bodies');
    const days = { rawExpiryDays: 60, keepReceiptsDays: 60 };
    expect(problemsOf({ ...days, rawBucket }, stack)).toEqual([]);
    expect(problemsOf(days)).toHaveLength(1);
  });

  test('imported by name, they need nothing more', () => {
    const stack = newStack();
    addPipeline(stack, {
      rawBucket: Bucket.fromBucketName(stack, 'Bucket', 'bodies'),
      countersTable: Table.fromTableName(stack, 'Counters', 'counters'),
      ledgerTable: Table.fromTableName(stack, 'Ledger', 'ledger'),
    });
    expect(JSON.stringify(Template.fromStack(stack))).not.toContain('kms:');
  });

  test('of another stack are imported from it', () => {
    const app = newApp();
    const data = new Stack(app, 'Data');
    const shop = new Stack(app, 'Shop');
    addPipeline(shop, {
      rawBucket: new Bucket(data, 'Bodies') as IBucket,
      ...tables(data, countersKeys, ledgerKeys),
    });
    expect(() => app.synth()).not.toThrow();
  });

  test('may be tables of the second kind', () => {
    const stack = newStack();
    const problems = problemsOf(
      {
        countersTable: new TableV2(stack, 'OldCounters', countersKeys),
        ledgerTable: new TableV2(stack, 'OldLedger', { ...ledgerKeys, sortKey: text('item') }),
      },
      stack,
    );
    expect(problems).toEqual([
      'ledgerTable must have the keys id (S), entry (S), got id (S), item (S).',
    ]);
  });

  test('say what a table lacks', () => {
    const stack = newStack();
    const wrong = tables(
      stack,
      { partitionKey: { name: 'date', type: AttributeType.NUMBER }, timeToLiveAttribute: 'ttl' },
      { ...ledgerKeys, timeToLiveAttribute: 'ttl' },
    );
    expect(problemsOf(wrong, stack)).toEqual([
      'countersTable must have the keys date (S), type_state (S), got date (N).',
      'countersTable has a timeToLiveAttribute, but counters must not expire; remove it.',
      'ledgerTable must have the timeToLiveAttribute expires_at.',
    ]);
    const { countersTable } = wrong;
    expect(problemsOf({ countersTable }, newStack())).toContain(
      'countersTable and ledgerTable belong together: give both, or neither for new ones.',
    );
  });
});

test('in a VPC, the functions are in its private subnets', () => {
  const stack = newStack();
  const vpc = new Vpc(stack, 'Vpc');
  addPipeline(stack, { vpc: vpc as IVpc, logRetentionDays: RetentionDays.ONE_WEEK });
  const functions = Object.values(
    Template.fromStack(stack).findResources('AWS::Lambda::Function', {
      Properties: { Runtime: 'nodejs24.x', VpcConfig: {} },
    }),
  ) as { Properties: { VpcConfig: { SubnetIds: unknown[] } } }[];
  expect(functions).toHaveLength(4);
  const ids = vpc.privateSubnets.map(({ subnetId }) => stack.resolve(subnetId) as unknown);
  for (const { Properties } of functions) expect(Properties.VpcConfig.SubnetIds).toEqual(ids);
  const roles = Object.values(
    Template.fromStack(stack).findResources('AWS::IAM::Role', {
      Properties: { Description: Match.stringLikeRegexp('^Permissions of the') },
    }),
  );
  expect(roles).toHaveLength(4);
  for (const role of roles)
    expect(JSON.stringify(role)).toContain('AWSLambdaVPCAccessExecutionRole');
  const open = newStack();
  addPipeline(open, {});
  Template.fromStack(open).resourceCountIs('AWS::EC2::SecurityGroup', 0);
});

test('a topic with a key of this app: CloudWatch may use the key', () => {
  const stack = newStack();
  const masterKey = new Key(stack, 'Key');
  addPipeline(stack, { alarmTopic: new Topic(stack, 'OnCall', { masterKey }) });
  Template.fromStack(stack).hasResourceProperties('AWS::KMS::Key', {
    KeyPolicy: {
      Statement: Match.arrayWith([
        Match.objectLike({
          Action: ['kms:Decrypt', 'kms:GenerateDataKey'],
          Principal: { Service: 'cloudwatch.amazonaws.com' },
        }),
      ]),
    },
  });
});

test('a topic receives alarms and recoveries', () => {
  const stack = newStack();
  const alarmTopic = new Topic(stack, 'OnCall');
  addPipeline(stack, { alarmTopic });
  const topic = stack.resolve(alarmTopic.topicArn) as object;
  const alarms = Template.fromStack(stack).findResources('AWS::CloudWatch::Alarm', {
    Properties: { AlarmActions: [topic], OKActions: [topic] },
  });
  expect(Object.keys(alarms)).toHaveLength(10);
});
