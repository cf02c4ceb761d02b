import { once } from 'node:events';

import { Command, CommanderError } from 'commander';

import { UsageError } from '../../src/entry/cli/option-parsers.ts';
import { onStopSignal, type StopSignal } from '../../src/entry/cli/stop-signals.ts';
import { clientEnvironment } from './client-settings.ts';
import type { LocalStack } from './local-stack.ts';
import { addLocalOptions, localOptions, type LocalOptions } from './local-options.ts';

const exitCodes = { done: 0, failed: 1, wrongUsage: 2 };
const stopGraceMs = 3_000;

async function main(): Promise<void> {
  // Lambda functions run in UTC. Here they are threads, which have the time zone of the process.
  process.env['TZ'] = 'UTC';
  const command = new Command('aws:local')
    .description('Runs the AWS stack on this machine, against emulators. All data is in memory.')
    .exitOverride()
    .showHelpAfterError('(use --help to show the options)')
    .configureOutput({
      outputError: (text, write) => write(text.replace(/^error: /, 'aws:local: ')),
    });
  addLocalOptions(command);
  try {
    command.parse();
    await run(localOptions(command));
  } catch (error) {
    process.exitCode = explain(error);
  }
}

/** Runs until SIGTERM, SIGINT or SIGHUP, or until an emulator fails. */
async function run(options: LocalOptions): Promise<void> {
  const stopping = stopSignal();
  // Imported late: loading takes a second, and wrong usage should fail at once.
  const { checkJava } = await import('./emulators/dynamodb-local.ts');
  await checkJava();
  const { localStackName, startLocalStack } = await import('./local-stack.ts');
  const { synthesizedTemplate } = await import('./template/synthesized-template.ts');
  printStatus('bundling the functions and synthesising the stack …');
  const { itemsPerMessage } = options;
  const settings = itemsPerMessage === undefined ? {} : { itemsPerMessage };
  const synthesized = await synthesizedTemplate(settings, stopping).catch((error: unknown) => {
    if (!stopping.aborted) throw error;
  });
  if (synthesized === undefined) return;
  printStatus('starting the emulators …');
  const stack = await startLocalStack({ ...synthesized, ...stackOptions(options) });
  try {
    if (stopping.aborted) return;
    process.stdout.write(`listening on ${stack.url}\n`);
    printStatus(`for commands with --stack ${localStackName}: ${commandEnvironment(stack)}`);
    const stopped = once(stopping, 'abort').then(() => undefined);
    const failure = await Promise.race([stopped, stack.failed]);
    if (failure !== undefined) throw failure;
  } finally {
    await stack.stop(stopGraceMs);
  }
}

/** The environment variables with which the SDK finds the emulators, to paste into a shell. */
function commandEnvironment({ endpoint, description }: LocalStack): string {
  const all = clientEnvironment(endpoint, description.region, 'operator');
  const names = ['AWS_REGION', 'AWS_ACCESS_KEY_ID', 'AWS_SECRET_ACCESS_KEY'];
  const variables = names.map((name) => `${name}=${all[name] ?? ''}`);
  return `export AWS_ENDPOINT_URL=${endpoint} ${variables.join(' ')}`;
}

function stackOptions(options: LocalOptions) {
  const { host, port, duplicate, reorder, kill, seed, sweepEvery, sweepAfter } = options;
  const isVerbose = options.verbose ?? false;
  return {
    ...{ host, port },
    disorder: { seed, duplicate, reorder, kill },
    isThrottled: options.throttle,
    compressedAs: options.compressedAs,
    visibilityTimeoutSeconds: options.visibilityTimeout,
    sweepEveryMs: sweepEvery === undefined ? undefined : sweepEvery * 1000,
    variables: sweepAfter === undefined ? {} : { SWEEP_AFTER_SECONDS: String(sweepAfter) },
    onOutput: isVerbose ? (_: string, text: string) => void process.stderr.write(text) : undefined,
    onTrouble: isVerbose ? printStatus : undefined,
  };
}

function printStatus(text: string): void {
  process.stderr.write(`aws:local: ${text}\n`);
}

/**
 * Aborts at the first signal to stop. A second one, unless it is SIGHUP, ends the process, and Java
 * with it.
 */
function stopSignal(): AbortSignal {
  const stopping = new AbortController();
  const onSignal = (signal: StopSignal) => {
    if (stopping.signal.aborted && signal !== 'SIGHUP') process.exit(130);
    stopping.abort();
  };
  onStopSignal(onSignal);
  return stopping.signal;
}

function explain(error: unknown): number {
  // commander has already printed its errors; help is one of them.
  if (error instanceof CommanderError) {
    return error.exitCode === 0 ? exitCodes.done : exitCodes.wrongUsage;
  }
  printStatus(whyNot(error));
  return error instanceof UsageError ? exitCodes.wrongUsage : exitCodes.failed;
}

function whyNot(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code, address, port } = error as NodeJS.ErrnoException & {
    address: string;
    port: number;
  };
  if (code !== 'EADDRINUSE') return error.message;
  return `Port ${port} of ${address} is in use. Stop the other program, or choose another port with --port.`;
}

await main();
