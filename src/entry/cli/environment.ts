import type { Command } from 'commander';

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
      const nearest = nearestOf(name, known);
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

/** The known name with the smallest edit distance, if that is at most a third of the name. */
function nearestOf(name: string, known: readonly string[]): string | undefined {
  const given = name.slice(prefix.length);
  const ranked = known
    .map((each) => ({ each, edits: editsBetween(given, each.slice(prefix.length)) }))
    .sort((a, b) => a.edits - b.edits);
  const [best] = ranked;
  return best !== undefined && best.edits <= Math.max(1, given.length / 3) ? best.each : undefined;
}

/** The Damerau–Levenshtein distance (optimal string alignment). */
function editsBetween(from: string, to: string): number {
  const rows: number[][] = [];
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 0; row <= from.length; row++) {
    rows.push([]);
    for (let column = 0; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1];
      const isSwapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      const fewest = Math.min(
        at(row - 1, column) + 1,
        at(row, column - 1) + 1,
        at(row - 1, column - 1) + (isSame ? 0 : 1),
        isSwapped ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
      rows[row]?.push(row + column === 0 ? 0 : fewest);
    }
  }
  return at(from.length, to.length);
}
