/** A line of a stack that says where, and nothing else. */
const frame = /^\s+at .{1,400}$/;
const framesMax = 20;
const messageCharactersMax = 300;

/**
 * What may be written into a log of an error: its name, its message as far as that can quote
 * nothing of a request, and where it happened. A log is read by many who may read no body and
 * hold no token.
 */
export function safeError(error: unknown): { readonly error: string; readonly stack: string } {
  if (!(error instanceof Error)) return { error: `a thrown ${typeof error}`, stack: '' };
  const frames = (error.stack ?? '').split('\n').filter((line) => frame.test(line));
  return { error: nameAndMessage(error), stack: frames.slice(0, framesMax).join('\n') };
}

function nameAndMessage({ name, message }: Error): string {
  // Those of JSON.parse quote the text.
  if (name === 'SyntaxError') return name;
  // The services of AWS, and Node, put what they were given on further lines or behind these words.
  const [line = ''] = message.split(/[\r\n]/);
  const redacted = line
    .replace(/\b(?:Received|received|got) .*$/, '…')
    .replace(/\bBearer +\S+/gi, 'Bearer …')
    .replace(/\bdpl_[\w-]+/g, 'dpl_…');
  return `${name}: ${redacted.slice(0, messageCharactersMax)}`;
}

/** What to do about errors of the system that name no file and no remedy. */
const remedies: Readonly<Record<string, string>> = {
  ENOSPC: 'Make room on that disk and run the command again.',
  EDQUOT: 'Make room in the quota of that disk and run the command again.',
  EACCES: 'This user may not do that: run the command as the user that the server runs as.',
  EPERM: 'This user may not do that: run the command as the user that the server runs as.',
  EROFS: 'Name a place that can be written to.',
  ENOTDIR: 'A part of that path is a file: name a directory.',
  EEXIST: 'Something else has that name: name another place.',
  EMFILE: 'Raise the limit on open files (ulimit -n) and run the command again.',
};

/** An error in words for the user of a command. */
export function errorText(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const remedy = remedies[(error as NodeJS.ErrnoException).code ?? ''];
  return remedy === undefined ? error.message : `${error.message}. ${remedy}`;
}
