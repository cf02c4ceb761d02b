import { existsSync, readFileSync } from 'node:fs';
import { createServer, type AddressInfo, type Socket } from 'node:net';
import { join, resolve } from 'node:path';

import { Command } from 'commander';

import { addLocalOptions } from '../../../infra/local/local-options.ts';
import { readSettings } from '../../../infra/read-settings.ts';
import { readTokens } from '../../../src/entry/lambda/tokens-secret.ts';
import { projectRoot, type Workspace } from './workspace.ts';

/** A call of a program. */
export interface Call {
  readonly name: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly input: string;
}

/** What it does: it prints and exits, or runs another program in its place. */
export interface Reply {
  readonly code?: number;
  readonly stdout?: string;
  readonly stderr?: string;
  readonly run?: readonly [string, ...string[]];
}

interface Package {
  readonly name: string;
  readonly version: string;
  readonly files: readonly string[];
  readonly scripts: Readonly<Record<string, string>>;
}

const manifest = JSON.parse(readFileSync(join(projectRoot, 'package.json'), 'utf8')) as Package;
const tarball = `./${manifest.name}-${manifest.version}.tgz`;

/** The AWS account, as far as the commands of the documents see it. */
export interface Account {
  readonly stackName: string;
  readonly outputs: Readonly<Record<string, string>>;
  /** The resources of the stack: types by logical ids. */
  readonly resources: ReadonlyMap<string, string>;
  /** The secret with the tokens. */
  secret: string;
}

/**
 * Stands in for the programs that act on the machine or on an account. It checks the arguments of
 * each and refuses unknown ones, so that the caller fails.
 */
export class StandIns {
  /** All calls so far, in words. */
  readonly calls: string[] = [];
  readonly #workspace: Workspace;
  readonly #account: Account | undefined;
  readonly #images = new Set<string>();
  readonly #volumes = new Set<string>();

  constructor(workspace: Workspace, account?: Account) {
    this.#workspace = workspace;
    this.#account = account;
  }

  async answer(call: Call): Promise<Reply> {
    this.calls.push([call.name, ...call.args].join(' '));
    try {
      return await this.#reply(call);
    } catch (error) {
      return { code: 1, stderr: `${call.name}: ${(error as Error).message}\n` };
    }
  }

  async #reply({ name, args, cwd, input }: Call): Promise<Reply> {
    switch (name) {
      case 'serve':
        return await this.#serve(args);
      case 'npm':
        return await this.#npm(args);
      case 'npx':
        return cdk(args, cwd);
      case 'node':
        return checkScript(args);
      case 'curl':
        return { run: ['/usr/bin/curl', ...args.map((text) => this.#served(text))] };
      case 'sudo':
        return await this.#sudo(args, cwd, input);
      case 'aws':
        return { stdout: `${this.#aws(args, input)}\n` };
      case 'docker':
        return this.#docker(args, cwd);
      case 'systemctl':
      case 'journalctl':
        return unit(name, args);
      case 'tail':
        expectArgs(args, /^-f (\S+)$/);
        return { stdout: readFileSync(resolve(cwd, args[1] ?? ''), 'utf8') };
      case 'git':
        return expectArgs(args, /^pull$/);
      case 'iostat':
        return expectArgs(args, /^-x \d+$/);
      case 'apt-get':
        return expectArgs(args, /^install( [a-z][a-z0-9.+-]+)+$/);
      default:
        throw new Error('no stand-in knows it');
    }
  }

  async #serve(args: readonly string[]): Promise<Reply> {
    return { stdout: `listening on ${await this.#workspace.serve(args)}\n` };
  }

  /** The address in the documents means that of the server. */
  #served(text: string): string {
    return text.replace(/(http:\/\/)?\b(127\.0\.0\.1|localhost):8080\b/, this.#workspace.url);
  }

  async #npm(args: readonly string[]): Promise<Reply> {
    const [verb = '', ...rest] = args;
    switch (verb) {
      case 'start':
        return await this.#serve(rest[0] === '--' ? rest.slice(1) : rest);
      case 'ci':
      case 'test':
      case 'pack':
        return expectArgs(rest, /^$/);
      case 'run':
        return runScript(rest);
      case 'install': {
        const [flag, option, prefix = '', file] = rest.length === 1 ? ['', '', '', ...rest] : rest;
        if (file !== tarball) throw new Error(`npm pack makes ${tarball}`);
        if (rest.length === 1) return {};
        expectArgs([flag ?? '', option ?? ''], /^--global --prefix$/);
        this.#workspace.install(prefix, manifest.files);
        return {};
      }
      default:
        throw new Error(`no stand-in knows npm ${verb}`);
    }
  }

  /** Paths of the machine are below `root` of the workspace. */
  async #sudo(args: readonly string[], cwd: string, input: string): Promise<Reply> {
    const root = join(this.#workspace.directory, 'root');
    const mapped = args.map((text) => text.replace(/(^|=)(?=\/(etc|opt|var)\/)/, `$1${root}`));
    const [program = '', ...rest] = mapped;
    if (['chown', 'cp'].includes(program) || program.endsWith('/device-pipeline')) {
      return { run: [program, ...rest] };
    }
    if (program === 'tee') {
      // The settings of the service.
      if (!/^DEVICE_PIPELINE_[A-Z_]+=\S+\n$/.test(input)) throw new Error(`no setting: ${input}`);
      return { run: [program, ...rest] };
    }
    return await this.#reply({ name: program, args: rest, cwd, input });
  }

  #aws(args: readonly string[], input: string): string {
    const [service = '', action = '', ...rest] = args;
    const options = new Map(pairs(rest));
    const is = (name: string, text: string) => {
      if (options.get(name) !== text) throw new Error(`${name} must be ${text}`);
    };
    if (`${service} ${action}` === 'sts get-caller-identity') return '{"Account":"000000000000"}';
    const account = this.#account;
    if (account === undefined) throw new Error('there is no account here');
    if (`${service} ${action}` === 'cloudformation describe-stacks') {
      is('--stack-name', account.stackName);
      is('--output', 'text');
      const query = options.get('--query') ?? '';
      const [, key = ''] =
        /^Stacks\[0\]\.Outputs\[\?OutputKey=='(\w+)'\]\.OutputValue$/.exec(query) ?? [];
      const value = account.outputs[key];
      if (value === undefined) throw new Error(`no stand-in answers ${query}`);
      return value;
    }
    if (`${service} ${action}` === 'cloudformation describe-stack-resources') {
      is('--stack-name', account.stackName);
      is('--output', 'text');
      return resourceOf(account, options.get('--query') ?? '');
    }
    const form = awsForms[`${service} ${action}`];
    if (form !== undefined) {
      expectArgs(rest, form);
      return '{}';
    }
    if (service !== 'secretsmanager') throw new Error(`no stand-in knows ${service} ${action}`);
    is('--secret-id', account.outputs['TokensSecretArn'] ?? '');
    if (action === 'put-secret-value') {
      is('--secret-string', 'file:///dev/stdin');
      readTokens(input);
      account.secret = input;
      return '{}';
    }
    expectArgs([action], /^get-secret-value$/);
    is('--query', 'SecretString');
    is('--output', 'text');
    return account.secret;
  }

  #docker(args: readonly string[], cwd: string): Reply {
    const [verb = '', ...rest] = args;
    const text = rest.join(' ');
    const [, built] = /^build -t (\S+) \.$/.exec(`${verb} ${text}`) ?? [];
    if (built !== undefined && existsSync(join(cwd, 'Dockerfile'))) {
      this.#images.add(built);
      return {};
    }
    const [, volume] = /^volume create (\S+)$/.exec(`${verb} ${text}`) ?? [];
    if (volume !== undefined) {
      this.#volumes.add(volume);
      return { stdout: `${volume}\n` };
    }
    expectArgs([verb], /^run$/);
    return this.#dockerRun(rest, cwd);
  }

  #dockerRun(args: readonly string[], cwd: string): Reply {
    const flags = new Set(['--rm', '-d']);
    const options = new Set(['-v', '-p', '--name', '--restart', '--stop-timeout', '--ulimit']);
    let at = 0;
    for (let option = args[0] ?? ''; option.startsWith('-'); option = args[at] ?? '') {
      if (!flags.has(option) && !options.has(option)) throw new Error(`unknown: ${option}`);
      const [volume = ''] = option === '-v' ? (args[at + 1] ?? '').split(':') : [];
      if (volume !== '' && !this.#volumes.has(volume)) throw new Error(`no volume ${volume}`);
      at += options.has(option) ? 2 : 1;
    }
    const [image = '', ...command] = args.slice(at);
    if (!this.#images.has(image)) throw new Error(`no image ${image}`);
    if (command.length === 0) return { stdout: 'the id of a container\n' };
    const dataDir = ['--data-dir', join(cwd, 'volume')];
    const program = join(projectRoot, 'bin/device-pipeline.cjs');
    return { run: [process.execPath, program, ...command, ...dataDir] };
  }
}

/**
 * Answers the calls of a workspace's stand-ins, one for each connection. Returns its port and a
 * function that ends it.
 */
export async function listen(
  answer: (call: Call) => Promise<Reply>,
): Promise<{ port: number; close: () => void }> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    void readAll(socket).then(async (text) => {
      socket.end(JSON.stringify(await answer(JSON.parse(text) as Call)));
    });
  });
  await new Promise<void>((ready) => server.listen(0, '127.0.0.1', ready));
  const { port } = server.address() as AddressInfo;
  return { port, close: () => void server.close() };
}

const quota = /^--service-code (lambda --quota-code L-B99A9384|apigateway --quota-code L-8A5B8E43)/;

/** The calls to AWS in the documents that nothing here executes, with their options. */
const awsForms: Readonly<Record<string, RegExp>> = {
  'cloudformation deploy':
    /^--template-file device-pipeline\.template\.json --s3-bucket \S+ --stack-name \S+ --capabilities CAPABILITY_IAM --parameter-overrides CodeBucket=\S+ DayZone=UTC$/,
  's3 cp': /^\. s3:\/\/\S+\/device-pipeline-[\d.]+\/ --recursive --exclude \* --include \*\.zip$/,
  'dynamodb delete-table': /^--table-name \S+$/,
  'dynamodb restore-table-to-point-in-time':
    /^--restore-date-time \d{4}-\d\d-\d\dT[\d:]{8}Z --source-table-name \S+ --target-table-name \S+$/,
  'dynamodb update-continuous-backups':
    /^--table-name \S+ --point-in-time-recovery-specification PointInTimeRecoveryEnabled=true$/,
  'dynamodb update-table': /^--table-name \S+ --(no-)?deletion-protection-enabled$/,
  'dynamodb update-time-to-live':
    /^--table-name \S+ --time-to-live-specification Enabled=true,AttributeName=expires_at$/,
  'dynamodb wait': /^table-exists --table-name \S+$/,
  'events disable-rule': /^--name \S+$/,
  'events enable-rule': /^--name \S+$/,
  'lambda delete-function-concurrency': /^--function-name \S+$/,
  'lambda put-function-concurrency': /^--reserved-concurrent-executions 0 --function-name \S+$/,
  'lambda update-event-source-mapping': /^--(no-)?enabled --uuid \S+$/,
  'service-quotas get-service-quota': new RegExp(`${quota.source}$`),
  'service-quotas list-requested-service-quota-change-history': /^--service-code lambda$/,
  'service-quotas list-service-quotas': /^--service-code dynamodb$/,
  'service-quotas request-service-quota-increase': new RegExp(
    `${quota.source} --desired-value \\d+$`,
  ),
};

/** The one resource of the query, by its logical id. */
function resourceOf({ resources }: Account, query: string): string {
  const [, type, prefix = ''] =
    /^StackResources\[\?ResourceType=='(.+)' && starts_with\(LogicalResourceId,'(\w+)'\)\]\.PhysicalResourceId$/.exec(
      query,
    ) ?? [];
  const found = [...resources].filter(([id, each]) => each === type && id.startsWith(prefix));
  const [first] = found;
  if (first === undefined || found.length > 1) throw new Error(`${query} finds ${found.length}`);
  return first[0];
}

async function readAll(socket: Socket): Promise<string> {
  const parts: Buffer[] = [];
  for await (const part of socket) parts.push(part as Buffer);
  return Buffer.concat(parts).toString();
}

/** @throws if the arguments, as one line, differ. */
function expectArgs(args: readonly string[], form: RegExp): Reply {
  if (!form.test(args.join(' '))) throw new Error(`no stand-in knows "${args.join(' ')}"`);
  return {};
}

function pairs(args: readonly string[]): [string, string][] {
  return args.flatMap((name, at): [string, string][] =>
    at % 2 === 0 ? [[name, args[at + 1] ?? '']] : [],
  );
}

/** Scripts of package.json, with options that they know. */
function runScript(args: readonly string[]): Reply {
  const [name = '', separator = '--', ...options] = args;
  const script = manifest.scripts[name];
  if (script === undefined) throw new Error(`package.json has no script ${name}`);
  if (separator !== '--') throw new Error(`options go behind "--", before ${separator}`);
  if (name === 'aws:local') {
    const command = addLocalOptions(new Command().exitOverride().configureOutput(silent));
    command.parse([...options], { from: 'user' });
    return {};
  }
  const [, file] = /^node ([\w/-]+\.ts)$/.exec(script) ?? [];
  if (file !== undefined) return checkScript([file, ...options]);
  if (options.length > 0) throw new Error(`no stand-in knows the options of ${name}`);
  return {};
}

const silent = { writeErr: () => undefined, writeOut: () => undefined };

/** Whether the text of a script mentions the options: running a benchmark takes too long. */
function checkScript([file = '', ...args]: readonly string[]): Reply {
  const source = readFileSync(join(projectRoot, file), 'utf8');
  const takesValue = new Map<string, boolean>();
  for (const [, name = '', type] of source.matchAll(/^ +'?([\w-]+)'?: \{ type: '(\w+)'/gm)) {
    takesValue.set(`--${name}`, type === 'string');
  }
  for (const [, name = '', value] of source.matchAll(/\.option\('--([\w-]+)( <\w+>)?'/g)) {
    takesValue.set(`--${name}`, value !== undefined);
  }
  for (let at = 0; at < args.length; at++) {
    const option = args[at] ?? '';
    const needsValue = takesValue.get(option);
    if (needsValue === undefined) throw new Error(`${file} has no option ${option}`);
    if (needsValue && (args[++at] ?? '--').startsWith('--')) {
      throw new Error(`${option} takes a value`);
    }
  }
  return {};
}

function cdk(args: readonly string[], cwd: string): Reply {
  const [program = '', verb = '', ...options] = args;
  expectArgs([program, verb], /^cdk (bootstrap|deploy|destroy|diff|synth)$/);
  const context: Record<string, string> = {};
  for (const [flag, pair] of pairs(options)) {
    expectArgs([flag, pair], /^-c \w+=.+$/);
    const at = pair.indexOf('=');
    context[pair.slice(0, at)] = pair.slice(at + 1);
  }
  const reading = readSettings(context, cwd);
  if (reading.kind === 'wrong') throw new Error(reading.problems.join('\n'));
  return {};
}

/** Commands of systemd, only for the unit in `deploy`. */
function unit(name: string, args: readonly string[]): Reply {
  const form =
    name === 'journalctl'
      ? /^-u (\S+)( -o cat| -n \d+| -f)*$/
      : /^(?:daemon-reload|(?:enable --now|restart|start|stop|status|reset-failed) (\S+))$/;
  const [, service] = form.exec(args.join(' ')) ?? [];
  expectArgs(args, form);
  if (service !== undefined && !existsSync(join(projectRoot, `deploy/${service}.service`))) {
    throw new Error(`there is no unit ${service}`);
  }
  return {};
}
