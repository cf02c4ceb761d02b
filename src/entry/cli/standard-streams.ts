import { getSystemErrorMessage } from 'node:util';

/** What a shell reports of a program that SIGPIPE ended. */
const closedPipeCode = 128 + 13;
const failedCode = 1;

/**
 * A command whose standard output is lost ends: quietly where the reader of the pipe has read
 * enough, such as `head`, else with a sentence. A lost stderr changes nothing: the exit code tells
 * how the command ended.
 */
export function exitOnStandardOutputError(): void {
  process.stdout.on('error', endCommand);
  process.stderr.on('error', () => undefined);
}

/** For a server, which goes on without its standard output. */
export function ignoreStandardOutputErrors(onLost: (reason: string) => void): void {
  process.stdout.off('error', endCommand);
  process.stdout.on('error', (error: NodeJS.ErrnoException) => onLost(reasonOf(error)));
}

function endCommand(error: NodeJS.ErrnoException): never {
  if (error.code === 'EPIPE') process.exit(closedPipeCode);
  const text = `device-pipeline: cannot write to standard output: ${reasonOf(error)}\n`;
  process.stderr.write(text);
  process.exit(failedCode);
}

function reasonOf({ errno, message }: NodeJS.ErrnoException): string {
  return errno === undefined ? message : getSystemErrorMessage(errno);
}
