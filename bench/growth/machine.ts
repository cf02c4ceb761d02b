import { execFileSync } from 'node:child_process';
import { cpus } from 'node:os';

/** Machine, Node.js and commit in one line, with a note if the work tree has changes. */
export function machine(): string {
  const git = (...args: string[]) =>
    execFileSync('git', args, { cwd: import.meta.dirname })
      .toString()
      .trim();
  const changes = git('status', '--porcelain', '--', '../../src') === '' ? '' : ' + changes';
  const commit = git('rev-parse', '--short', 'HEAD');
  return `${cpus().length} × ${cpus()[0]?.model ?? '?'}, Node ${process.version}, commit ${commit}${changes}`;
}
