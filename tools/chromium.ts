import { existsSync } from 'node:fs';

/** A browser for tests and pictures: no sandbox, as in a container, and nothing that calls home. */
export const chromiumArguments = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** @throws where there is none, with what to do. */
export function chromiumPath(path = process.env['CHROMIUM_PATH'] ?? '/usr/bin/chromium'): string {
  if (existsSync(path)) return path;
  throw new Error(
    `There is no Chromium at ${path}: apt-get install chromium, or set CHROMIUM_PATH.`,
  );
}
