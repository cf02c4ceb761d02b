import { closeSync, fsyncSync, openSync, statSync, writeFileSync } from 'node:fs';

import {
  chownToOwner,
  createLogDirectory,
  directoryUnusable,
  type DataPaths,
} from '../data-directory.ts';
import { nodeFileSystem } from '../log/file-system.ts';

const text = `Tokens were created for this data directory: without its tokens.json, serve does not start.
To let clients in without tokens, stop the server and remove this file and tokens.json.
`;

/**
 * Durably creates a marker file in the log's directory that says that tokens were created. A copy of
 * the log includes it: otherwise a restored directory without tokens.json would be open to everyone.
 * The marker stays when the last token is revoked.
 * @throws {DataDirectoryUnusable}
 */
export function requireTokens(paths: DataPaths): void {
  try {
    if (!areTokensRequired(paths)) writeMarker(paths);
    // Sync even if the file exists: a killed process may not have synced the directory.
    nodeFileSystem.syncDirectory(paths.log);
  } catch (error) {
    throw directoryUnusable(paths.root, error);
  }
}

/**
 * Whether tokens were ever created for the data directory: whether the marker exists. Its content
 * does not matter, because a power failure may erase it.
 * @throws the file system's error if that is unknown.
 */
export function areTokensRequired({ tokensRequired }: DataPaths): boolean {
  return statSync(tokensRequired, { throwIfNoEntry: false }) !== undefined;
}

function writeMarker(paths: DataPaths): void {
  createLogDirectory(paths);
  writeDurably(paths.tokensRequired, text, { flag: 'a', mode: 0o640 });
  chownToOwner(paths, paths.tokensRequired);
}

/** Writes a file and syncs it. The caller syncs its directory. */
export function writeDurably(
  path: string,
  content: string | Uint8Array,
  { flag, mode }: { readonly flag: 'a' | 'wx'; readonly mode: number },
): void {
  const descriptor = openSync(path, flag, mode);
  try {
    writeFileSync(descriptor, content);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
