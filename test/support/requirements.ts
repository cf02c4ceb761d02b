import { spawnSync, type SpawnSyncOptions } from 'node:child_process';
import { mkdtempSync, rmdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { findChromium, unpackChromium } from '../../tools/chromium.ts';

export type RequirementName = 'Java' | 'Chromium' | 'Python' | 'curl' | 'ps' | 'root';

/** Something outside the npm dependencies that some tests need. */
export interface Requirement {
  readonly name: RequirementName;
  /** What does not run without it. */
  readonly tests: string;
  /** How to get it. */
  readonly remedy: string;
  isThere(): boolean;
  /** Tries to get it; does nothing where this process cannot. */
  install(): void;
}

export const requirements: readonly Requirement[] = [
  {
    name: 'Java',
    tests: 'the AWS engine on DynamoDB Local',
    isThere: hasJava,
    ...debianPackage('default-jre-headless'),
  },
  {
    name: 'Chromium',
    tests: 'the dashboard in a browser',
    isThere: () => findChromium() !== undefined,
    remedy: 'apt-get install chromium, and set CHROMIUM_PATH=/usr/bin/chromium',
    install: () => void unpackChromium(),
  },
  {
    name: 'Python',
    tests: "the README's example in Python",
    isThere: () => runs('python3', ['--version']),
    ...debianPackage('python3'),
  },
  {
    name: 'curl',
    tests: "the documents' commands that use curl",
    isThere: () => runs('curl', ['--version']),
    ...debianPackage('curl'),
  },
  {
    name: 'ps',
    tests: 'that Java ends with the process that started it',
    isThere: () => runs('ps', ['-e']),
    ...debianPackage('procps'),
  },
  {
    name: 'root',
    tests: 'full disks and files of other users',
    isThere: canMount,
    remedy: 'run the tests as root, where mount is allowed',
    install: () => undefined,
  },
];

/**
 * Looks for all requirements, installs what is missing, and returns what still is.
 * @param say takes a line for each step that takes a while.
 */
export function meetRequirements(say: (line: string) => void): Requirement[] {
  return requirements.filter((requirement) => {
    if (requirement.isThere()) return false;
    say(`${requirement.name} is missing: trying to install it`);
    try {
      requirement.install();
    } catch (error) {
      say(`${requirement.name} cannot be installed: ${String(error)}`);
    }
    return !requirement.isThere();
  });
}

function runs(program: string, args: readonly string[], options: SpawnSyncOptions = {}): boolean {
  return spawnSync(program, args, { stdio: 'ignore', ...options }).status === 0;
}

/** Version 17 or later, as DynamoDB Local needs. */
function hasJava(): boolean {
  const { error, stderr } = spawnSync('java', ['-version'], { encoding: 'utf8' });
  if (error !== undefined) return false;
  return Number(/version "(?:1\.)?(\d+)/.exec(stderr)?.[1]) >= 17;
}

function debianPackage(name: string): Pick<Requirement, 'remedy' | 'install'> {
  return {
    remedy: `apt-get install --no-install-recommends ${name}`,
    install: () => {
      if (process.getuid?.() !== 0) return;
      const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
      const options: SpawnSyncOptions = { env, stdio: ['ignore', 'ignore', 'inherit'] };
      runs('apt-get', ['update', '-q'], options);
      runs('apt-get', ['install', '-yq', '--no-install-recommends', name], options);
    },
  };
}

function canMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-mount-'));
  const isMounted = runs('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', directory]);
  if (isMounted) spawnSync('umount', [directory]);
  rmdirSync(directory);
  return isMounted;
}
