import { spawn, type ChildProcess } from 'node:child_process';
import {
  chmodSync,
  cpSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';

import { commandPath } from '../processes/command-path.ts';
import {
  afterTest,
  newClient,
  startServer,
  temporaryDirectory,
  waitCounted,
  type ServerProcess,
} from '../processes/real-server.ts';
import { withoutProgress } from '../processes/without-progress.ts';

export const projectRoot = join(import.meta.dirname, '../../..');

/** Programs that act on the machine or an account, or do not end: the test answers for them. */
const replacedPrograms = [
  ...['apt-get', 'aws', 'curl', 'docker', 'git', 'iostat', 'journalctl', 'npm', 'sudo'],
  ...['systemctl', 'tail'],
];

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/**
 * A directory that looks like a clone, with a server on `./data`, and the shells that work there.
 */
export class Workspace {
  readonly directory = temporaryDirectory();
  readonly #shells = new Map<string, Shell>();
  readonly #env: Record<string, string>;
  readonly #serverEnv: Readonly<Record<string, string>>;
  #server: { readonly process: ServerProcess; readonly args: string } | undefined;
  #url = '';

  /** @param standInsPort where the stand-ins of this workspace ask what to do */
  constructor(standInsPort: number, env: Readonly<Record<string, string>> = {}) {
    for (const name of readdirSync(projectRoot)) {
      if (name.startsWith('.') || name === 'data') continue;
      symlinkSync(join(projectRoot, name), join(this.directory, name));
    }
    for (const name of [
      'home',
      'root/etc/systemd/system',
      'root/var/lib/private',
      'mnt/backup/pipeline',
    ]) {
      mkdirSync(join(this.directory, name), { recursive: true });
    }
    this.#serverEnv = env;
    const path = join(this.directory, '.programs');
    mkdirSync(path);
    const node = process.execPath;
    this.#env = {
      NODE_COMPILE_CACHE: process.env['NODE_COMPILE_CACHE'] ?? '',
      PATH: `${path}:/usr/bin:/bin`,
      HOME: join(this.directory, 'home'),
      LANG: 'C.UTF-8',
      STAND_INS_PORT: String(standInsPort),
      ...env,
    };
    const standIn = `exec ${node} ${join(import.meta.dirname, 'stand-in.ts')}`;
    const program = (name: string, text: string) => {
      writeFileSync(join(path, name), `#!/bin/sh\n${text}\n`);
      chmodSync(join(path, name), 0o755);
    };
    for (const name of replacedPrograms) program(name, `${standIn} ${name} "$@"`);
    const isOfBench = `case "$1" in bench/*) ${standIn} node "$@" ;; esac`;
    program('node', `${isOfBench}\nexec ${node} "$@"`);
    const address = join(this.directory, '.address');
    program(
      'npx',
      `[ "$1" = device-pipeline ] || ${standIn} npx "$@"
shift
case "$1" in
  serve) ${standIn} "$@" ;;
  check | feed | ingest) [ ! -f ${address} ] || export DEVICE_PIPELINE_URL="$(cat ${address})" ;;
esac
exec ${node} ${commandPath} "$@"`,
    );
  }

  get dataDir(): string {
    return join(this.directory, 'data');
  }

  /** Of the server. */
  get url(): string {
    return this.#url;
  }

  /**
   * Runs a command in the shell of a document, which has the variables of the commands before it.
   */
  async run(document: string, text: string): Promise<Outcome> {
    const shell = this.#shells.get(document) ?? new Shell(this.directory, this.#env);
    this.#shells.set(document, shell);
    return await shell.run(text);
  }

  /** Writes a program for the server of this workspace into a file; returns what runs it. */
  program(language: 'ts' | 'python', text: string): string {
    const name = language === 'ts' ? 'send.ts' : 'send.py';
    const client = join(projectRoot, 'src/client/index.ts');
    const served = text.replaceAll('http://127.0.0.1:8080', this.#url);
    this.write(name, served.replace("'device-pipeline/client'", `'${client}'`));
    return `${language === 'ts' ? 'node' : 'python3'} ${name}`;
  }

  /** Starts the server with these arguments, but on a free port, in place of the previous one. */
  async serve(args: readonly string[]): Promise<string> {
    const text = args.join(' ');
    if (this.#server?.args !== text) {
      const previous = this.#server?.process;
      this.#server = undefined;
      previous?.kill('SIGTERM');
      await previous?.waitExit();
      const at = args.indexOf('--data-dir');
      const dataDir = resolve(this.directory, at < 0 ? 'data' : (args[at + 1] ?? ''));
      const last = ['--port', '0', '--data-dir', dataDir];
      const { server, url } = await startServer(dataDir, {
        ...{ args: [...args, ...last], env: this.#serverEnv },
      });
      this.#server = { process: server, args: text };
      this.#url = url.replace('//0.0.0.0:', '//127.0.0.1:');
      writeFileSync(join(this.directory, '.address'), this.#url);
    }
    return this.#url;
  }

  /** Resolves when everything accepted is counted. */
  async counted(): Promise<void> {
    // Otherwise every later example would wait for it.
    if (this.#server === undefined) throw new Error('an earlier example has stopped the server');
    await waitCounted(newClient(1), this.#url);
  }

  write(name: string, content: string): void {
    const path = join(this.directory, name);
    // Never through a link into the clone.
    rmSync(path, { force: true });
    writeFileSync(path, content);
  }

  /** What `npm install --global --prefix` makes of the tarball. */
  install(prefix: string, files: readonly string[]): void {
    rmSync(prefix, { recursive: true, force: true });
    // Of the files, the documents copy only these.
    for (const file of files.filter((name) => name.startsWith('deploy/'))) {
      const target = join(prefix, 'lib/node_modules/device-pipeline', file);
      mkdirSync(dirname(target), { recursive: true });
      cpSync(join(projectRoot, file), target);
    }
    mkdirSync(join(prefix, 'bin'), { recursive: true });
    symlinkSync(join(projectRoot, 'bin/device-pipeline.cjs'), join(prefix, 'bin/device-pipeline'));
  }
}

/** A shell that stays open between commands. Each has its own exit code and output. */
class Shell {
  readonly #child: ChildProcess;
  readonly #ended: Promise<never>;
  #output = { stdout: '', stderr: '' };
  #onOutput: () => void = () => undefined;

  constructor(cwd: string, env: Record<string, string>) {
    this.#child = spawn('sh', [], { cwd, env, stdio: 'pipe' });
    afterTest(() => void this.#child.kill('SIGKILL'));
    for (const name of ['stdout', 'stderr'] as const) {
      this.#child[name]?.setEncoding('utf8').on('data', (text: string) => {
        this.#output[name] += text;
        this.#onOutput();
      });
    }
    this.#ended = new Promise((_, reject) => {
      this.#child.on('close', () => reject(new Error(`the shell ended: ${this.#output.stderr}`)));
    });
    this.#ended.catch(() => undefined);
  }

  async run(text: string): Promise<Outcome> {
    this.#output = { stdout: '', stderr: '' };
    const mark = '\n:end of the command:';
    const done = new Promise<Outcome>((resolve) => {
      this.#onOutput = () => {
        const [stdout = '', code] = this.#output.stdout.split(mark);
        const [stderr = '', end] = this.#output.stderr.split(mark);
        if (!code?.endsWith('\n') || !end?.endsWith('\n')) return;
        resolve({ code: Number(code), stdout, stderr: withoutProgress(stderr) });
      };
    });
    const print = `printf '%s%s\\n' '${mark}' "$code"`;
    const script = `{ ${text}\n} </dev/null\ncode=$?; ${print}; ${print} >&2\n`;
    this.#child.stdin?.write(script);
    return await Promise.race([done, this.#ended]);
  }
}
