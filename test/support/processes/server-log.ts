/** A line of a server's log. */
export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly msg: string;
  readonly [field: string]: unknown;
}

/** The log of a server without problems. */
const routine = new Set([
  ...['started', 'stopping', 'stopped', 'batch_accepted', 'request_refused', 'requests_refused'],
  // Its sentence follows as plain text.
  'storage_failed',
]);

/** The complete lines of a log, from what a server has written to stderr. */
export function logLines(stderr: string): LogLine[] {
  return stderr
    .split('\n')
    .filter((line) => line.startsWith('{') && line.endsWith('}'))
    .map((line) => JSON.parse(line) as LogLine);
}

/** What a server has written to stderr that is not routine, as sentences. */
export function sentences(stderr: string): string {
  const lines = stderr.split(/(?<=\n)/).map((line) => {
    const [logged] = logLines(line.trimEnd());
    if (logged === undefined) return line;
    return routine.has(logged.event) ? '' : `device-pipeline: ${logged.msg}\n`;
  });
  return lines.join('');
}
