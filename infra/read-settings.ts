import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';

import {
  contradictions,
  defaultSettings,
  settingNames,
  settingTable,
  type Settings,
} from './settings.ts';
import { unknownName } from './unknown-name.ts';

type SettingsReading = { kind: 'read'; settings: Settings } | { kind: 'wrong'; problems: string[] };

type Values = Record<string, unknown>;
type FileReading = { values: Values } | { problem: string };

/** The settings file, unless `-c settings=FILE` names another; it need not exist. */
const usualFile = 'pipeline.settings.json';

/** Names that the CDK CLI itself adds to the context of an app. */
const contextOfTheTool = new Set(['settings', 'cli-telemetry', 'acknowledged-issue-numbers']);

/**
 * Reads the settings from their file, overridden by the app's context (`-c name=value`). Reports all
 * problems at once. The name of the file is relative to `directory`.
 */
export function readSettings(context: Values, directory: string): SettingsReading {
  const file = readFile(context['settings'], directory);
  if ('problem' in file) return { kind: 'wrong', problems: [file.problem] };
  const overrides = Object.fromEntries(
    Object.entries(context).filter(([name]) => !/[:/@]/.test(name) && !contextOfTheTool.has(name)),
  );
  return checkSettings({ ...file.values, ...overrides });
}

/** Checks values by name. Values from JSON are typed; values from the command line are text. */
export function checkSettings(values: Values): SettingsReading {
  const problems = Object.keys(values)
    .filter((name) => !Object.hasOwn(settingTable, name))
    .map((name) => unknownName('setting', name, settingNames));
  const settings: Values = { ...defaultSettings };
  for (const name of settingNames) {
    if (!Object.hasOwn(values, name)) continue;
    const parsed = settingTable[name].parse(values[name]);
    if ('value' in parsed) settings[name] = parsed.value;
    else problems.push(`${name} must be ${parsed.allowed}, got ${shown(values[name])}.`);
  }
  // Compare settings with each other only if each is valid.
  if (problems.length === 0) problems.push(...contradictions(settings as unknown as Settings));
  if (problems.length > 0) return { kind: 'wrong', problems };
  return { kind: 'read', settings: settings as unknown as Settings };
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `'${value}'` : JSON.stringify(value);
}

function readFile(named: unknown, directory: string): FileReading {
  if (named !== undefined && (typeof named !== 'string' || named === '')) {
    return { problem: `settings must be the name of a JSON file, got ${shown(named)}.` };
  }
  const name = named ?? usualFile;
  let text: string;
  try {
    text = readFileSync(resolve(directory, name), 'utf8');
  } catch (error) {
    const { code = '' } = error as NodeJS.ErrnoException;
    if (named === undefined && code === 'ENOENT') return { values: {} };
    const reason = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
    return { problem: `The settings file ${name} ${reason}.` };
  }
  return parseFile(name, text);
}

function parseFile(name: string, text: string): FileReading {
  let values: unknown;
  try {
    values = JSON.parse(text);
  } catch (error) {
    return { problem: `The settings file ${name} is not JSON: ${(error as Error).message}.` };
  }
  if (typeof values === 'object' && values !== null && !Array.isArray(values)) {
    return { values: values as Values };
  }
  return { problem: `The settings file ${name} must hold a JSON object such as {"tokens":"on"}.` };
}
