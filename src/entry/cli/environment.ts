import type { Command } from 'commander';

import { nearestName } from '../../util/nearest-name.ts';

type Environment = Record<string, string | undefined>;

const prefix = 'DEVICE_PIPELINE_';
/** Variables that no option declares. */
const nonOptionVariables = ['DEVICE_PIPELINE_DEBUG', 'DEVICE_PIPELINE_INSECURE'];
/** Kubernetes sets these in each container of a namespace that has a service named device-pipeline. */
const kubernetesVariable = /^DEVICE_PIPELINE_(SERVICE|PORT)_/;

/** Removes settings with an empty value, which compose files produce for variables without a value. */
export function dropEmptySettings(env: Environment): void {
  for (const name of settingsIn(env)) if (env[name] === '') Reflect.deleteProperty(env, name);
}

/** Removes all settings. */
export function dropSettings(env: Environment): void {
  for (const name of settingsIn(env)) Reflect.deleteProperty(env, name);
}

/** Returns a warning for each `DEVICE_PIPELINE_` variable that no command reads. */
export function unknownSettings(env: Environment, program: Command): string[] {
  const known = [...new Set([...nonOptionVariables, ...variablesOf(program)])].sort();
  return settingsIn(env)
    .filter((name) => !known.includes(name) && !kubernetesVariable.test(name))
    .map((name) => {
      // All begin with the same prefix, so the rest decides.
      const editsMax = Math.max(1, (name.length - prefix.length) / 3);
      const nearest = nearestName(name, known, () => editsMax);
      const hint =
        nearest === undefined ? `known: ${known.join(', ')}` : `did you mean ${nearest}?`;
      return `no command reads the environment variable ${name}; ${hint}`;
    });
}

function settingsIn(env: Environment): string[] {
  return Object.keys(env).filter((name) => name.startsWith(prefix));
}

function variablesOf(command: Command): string[] {
  const own = command.options.flatMap(({ envVar }) => (envVar === undefined ? [] : [envVar]));
  return [...own, ...command.commands.flatMap(variablesOf)];
}
