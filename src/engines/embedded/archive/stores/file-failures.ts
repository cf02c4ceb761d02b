import { ArchiveUnusable } from './object-store.ts';

/** The code of a system error, such as ENOENT; undefined for other errors. */
export function codeOf(error: unknown): string | undefined {
  return error instanceof Error && 'code' in error ? String(error.code) : undefined;
}

/**
 * Returns an `ArchiveUnusable` that says what to do, if an operator has to change something. Any
 * other error, such as a full disk, may not recur at the next attempt.
 */
export function explainFileError(error: unknown, root: string): unknown {
  if (isFull(error)) {
    return new Error(`The disk of the archive in ${root} is full. Free some space on it.`, {
      cause: error,
    });
  }
  const sentence = sentenceOf(error, root);
  return sentence === undefined ? error : new ArchiveUnusable(sentence, { cause: error });
}

function sentenceOf(error: unknown, root: string): string | undefined {
  const message = error instanceof Error ? error.message : '';
  switch (codeOf(error)) {
    case 'EPERM':
      // The error of Linux for file systems such as FAT.
      return isOfLink(error) ? unsuitable(root, message) : forbidden(root, message);
    case 'EACCES':
      return forbidden(root, message);
    case 'EINVAL':
    case 'ENOSYS':
    case 'ENOTSUP':
    case 'EOPNOTSUPP':
      return unsuitable(root, message);
    case 'EROFS':
      return `The archive in ${root} cannot be written, because its file system is mounted read-only. Mount it for writing.`;
    case 'ENOTDIR':
      return `The archive in ${root} cannot be used: a file is where a directory must be (${message}). Move the file away, or use another directory.`;
    case undefined:
    default:
      return undefined;
  }
}

function isFull(error: unknown): boolean {
  return ['ENOSPC', 'EDQUOT'].includes(codeOf(error) ?? '');
}

function isOfLink(error: unknown): boolean {
  return error instanceof Error && 'syscall' in error && error.syscall === 'link';
}

function forbidden(root: string, message: string): string {
  return `The archive in ${root} cannot be used (${message}). Give the user of this process permission to read and write below that directory.`;
}

function unsuitable(root: string, message: string): string {
  return `The file system of ${root} cannot hold an archive (${message}). An archive needs hard links, so that two servers cannot write one file, and directories that can be synced. Use a directory on another file system, or an s3:// URL.`;
}
