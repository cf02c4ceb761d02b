import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';

import { findChromium, unpackChromium } from '../../../tools/chromium.ts';

export type RequirementName =
  'Java' | 'Chromium' | 'Python' | 'Node.js 20' | 'curl' | 'sqlite3' | 'ps' | 'zip' | 'root';

/** Something outside the npm dependencies that some tests need. */
export interface Requirement {
  readonly name: RequirementName;
  /** What does not run without it. */
  readonly tests: string;
  /** How to install it. */
  readonly remedy: string;
  /** The Debian package that has it. */
  readonly debianPackage?: string;
  readonly isThere: () => boolean;
  /** Tries to install it in another way. */
  readonly unpack?: () => void;
}

export const requirements: readonly Requirement[] = [
  {
    name: 'Java',
    tests: 'the AWS engine on DynamoDB Local',
    isThere: hasJava,
    ...debian('default-jre-headless'),
  },
  {
    name: 'Chromium',
    tests: 'the dashboard in a browser',
    isThere: () => findChromium() !== undefined,
    remedy: 'apt-get install chromium, and set CHROMIUM_PATH=/usr/bin/chromium',
    unpack: () => void unpackChromium(),
  },
  {
    name: 'Python',
    tests: "the documents' example in Python",
    isThere: () => runs('python3', ['--version']),
    ...debian('python3'),
  },
  {
    name: 'Node.js 20',
    tests: 'the construct on the oldest Node.js that the CDK supports',
    isThere: () => findOldNode() !== undefined,
    ...debian('nodejs'),
  },
  {
    name: 'curl',
    tests: "the documents' commands that use curl",
    isThere: () => runs('curl', ['--version']),
    ...debian('curl'),
  },
  {
    name: 'sqlite3',
    tests: 'that the sqlite3 shell reads the counters',
    isThere: () => runs('sqlite3', ['--version']),
    ...debian('sqlite3'),
  },
  {
    name: 'ps',
    tests: 'that Java ends with the process that started it',
    isThere: () => runs('ps', ['-e']),
    ...debian('procps'),
  },
  {
    name: 'zip',
    tests: 'the template for those without the CDK, with its zip files',
    isThere: () => runs('zip', ['-v']),
    ...debian('zip'),
  },
  {
    name: 'root',
    tests: 'full disks and files of other users',
    isThere: canMount,
    remedy: 'run the tests as root, where mount is allowed',
  },
];

/**
 * Checks all requirements, installs what is missing, and returns what is still missing.
 * @param say receives a line for each step that takes a while or fails.
 */
export function meetRequirements(say: (line: string) => void): Requirement[] {
  const missing = requirements.filter(({ isThere }) => !isThere());
  for (const { name, unpack } of missing) {
    if (unpack === undefined) continue;
    say(`unpacking ${name}`);
    try {
      unpack();
    } catch (error) {
      say(`${name} cannot be unpacked: ${String(error)}`);
    }
  }
  const packages = missing.flatMap(({ debianPackage = [] }) => debianPackage);
  if (packages.length > 0 && process.getuid?.() === 0) installPackages(packages, say);
  return missing.filter(({ isThere }) => !isThere());
}

function installPackages(packages: readonly string[], say: (line: string) => void): void {
  say(`installing ${packages.join(', ')}`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const steps = [
    ['update', '-q'],
    ['install', '-yq', '--no-install-recommends', ...packages],
  ];
  for (const args of steps) {
    const { status, stderr, error } = spawnSync('apt-get', args, { env, encoding: 'utf8' });
    if (status === 0) continue;
    const reason = error?.message ?? stderr.trim().split('\n').at(-1) ?? '';
    say(`apt-get ${args.join(' ')} failed: ${reason}`);
  }
}

function runs(program: string, args: readonly string[]): boolean {
  return spawnSync(program, args, { stdio: 'ignore' }).status === 0;
}

/** Version 17 or later, as DynamoDB Local needs. */
function hasJava(): boolean {
  const { error, stderr } = spawnSync('java', ['-version'], { encoding: 'utf8' });
  if (error !== undefined) return false;
  return Number(/version "(?:1\.)?(\d+)/.exec(stderr)?.[1]) >= 17;
}

/** A Node.js 20 on the PATH, behind the one that runs the tests. */
export function findOldNode(): string | undefined {
  const paths = (process.env['PATH'] ?? '').split(delimiter).map((path) => join(path, 'node'));
  return paths.find((path) => {
    const { stdout } = spawnSync(path, ['--version'], { encoding: 'utf8' });
    return /^v20\./.test(String(stdout)); // null if it cannot run
  });
}

function debian(name: string): Pick<Requirement, 'remedy' | 'debianPackage'> {
  return { remedy: `apt-get install --no-install-recommends ${name}`, debianPackage: name };
}

function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-mount-'));
  const isMounted = runs('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]);
  if (isMounted) spawnSync('umount', [directory]);
  rmdirSync(directory);
  return isMounted;
}
