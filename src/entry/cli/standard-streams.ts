import { getSystemErrorMessage } from 'node:util';

/** The exit status that a shell reports after SIGPIPE. */
const closedPipeCode = 128 + 13;
const failedCode = 1;

/**
 * Ends a command that can no longer write to standard output: silently if the reader closed the pipe,
 * as `head` does, otherwise with a message. Errors of stderr are ignored: the exit code is enough.
 */
export function exitOnStandardOutputError(): void {
  process.stdout.on('error', endCommand);
  process.stderr.on('error', () => undefined);
}

/** For a server, which continues without standard output. */
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
