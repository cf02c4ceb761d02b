import { closeSync, fsyncSync, openSync, statSync, writeFileSync } from 'node:fs';

import {
  chownToOwner,
  makeLogDirectory,
  directoryUnusable,
  type DataPaths,
} from '../data-directory.ts';
import { nodeFileSystem } from '../log/file-system.ts';

const text = `Tokens were made for this data directory: without its tokens.json, serve does not start.
To let clients in without tokens, stop the server and remove this file and tokens.json.
`;

/**
 * Notes in the log's directory that tokens were made, durably. A copy of the log, the documented
 * backup, brings the note along; without it, a restore that lacks tokens.json would be open to all.
 * The note stays when the last token is revoked.
 * @throws {DataDirectoryUnusable}
 */
export function requireTokens(paths: DataPaths): void {
  try {
    if (!areTokensRequired(paths)) writeMarker(paths);
    // Even where the file was there: a killed process may have left it without this sync.
    nodeFileSystem.syncDirectory(paths.log);
  } catch (error) {
    throw directoryUnusable(paths.root, error);
  }
}

/**
 * Whether tokens were ever made for the data directory. The name counts, not the content, which
 * a power failure may take.
 * @throws the file system's error where that cannot be looked up.
 */
export function areTokensRequired({ tokensRequired }: DataPaths): boolean {
  return statSync(tokensRequired, { throwIfNoEntry: false }) !== undefined;
}

function writeMarker(paths: DataPaths): void {
  makeLogDirectory(paths);
  const descriptor = openSync(paths.tokensRequired, 'a', 0o640);
  try {
    writeFileSync(descriptor, text);
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
  chownToOwner(paths, paths.tokensRequired);
}
