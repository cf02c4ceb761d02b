import { sqliteFailure } from '../../util/sqlite.ts';

/** A line of a stack trace that is a stack frame. */
const frame = /^\s+at .{1,400}$/;
const framesMax = 20;
const messageCharactersMax = 300;

/**
 * What a log may show of an error: its name, its message without parts that may quote a request, and
 * its stack frames. Readers of the log need not have access to request bodies or tokens.
 */
export function safeError(error: unknown): { readonly error: string; readonly stack: string } {
  if (!(error instanceof Error)) return { error: `a thrown ${typeof error}`, stack: '' };
  const frames = (error.stack ?? '').split('\n').filter((line) => frame.test(line));
  return { error: nameAndMessage(error), stack: frames.slice(0, framesMax).join('\n') };
}

function nameAndMessage({ name, message }: Error): string {
  // The messages of JSON.parse quote the text.
  if (name === 'SyntaxError') return name;
  // AWS services and Node quote their input on further lines, or after these words.
  const [line = ''] = message.split(/[\r\n]/);
  const redacted = line
    .replace(/\b(?:Received|received|got) .*$/, '…')
    .replace(/\bBearer +\S+/gi, 'Bearer …')
    .replace(/\bdpl_[\w-]+/g, 'dpl_…');
  return `${name}: ${redacted.slice(0, messageCharactersMax)}`;
}

/** What to do about system errors; their own messages give no advice. */
const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'Free some space on that disk and run the command again.',
  EDQUOT: 'Free some space in the quota of that disk and run the command again.',
  EFBIG: 'A file may not grow so large: raise the limit (ulimit -f) and run the command again.',
  EACCES: 'Run the command as the user that the server runs as.',
  EPERM: 'Run the command as the user that the server runs as.',
  EROFS: 'The file system is read-only: choose another path.',
  ENOTDIR: 'A part of that path is a file: choose a directory.',
  EEXIST: 'That path exists already, or is a link without a target: choose another one.',
  EMFILE: 'Raise the limit on open files (ulimit -n) and run the command again.',
  // A thread needs some ten descriptors.
  ERR_WORKER_INIT_FAILED: 'Raise the limit on open files (ulimit -n) and run the command again.',
};

const cannotOpen =
  'Run the command as the user that the server runs as, and raise the limit on open files (ulimit -n) if it is low.';

/** The message of an error, with what to do about it, for the user of a command. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const { code = '' } = error as NodeJS.ErrnoException;
  const remedy = sqliteFailure(error) === 'cannotOpen' ? cannotOpen : remedies[code];
  return remedy === undefined ? error.message : `${error.message}. ${remedy}`;
}
