import type { Command } from 'commander';

/** The help of a command, besides its options. */
interface CommandHelp {
  readonly description: string;
  readonly notes?: string;
  /** Command lines without the name of the program. */
  readonly examples?: readonly string[];
}

/** Adds a command; its help ends with the notes and the examples. */
export function addCommand(
  parent: Command,
  nameAndArguments: string,
  { description, notes, examples }: CommandHelp,
): Command {
  const command = parent.command(nameAndArguments).description(description);
  if (notes !== undefined) command.addHelpText('after', notes);
  return examples === undefined ? command : addExamples(command, ...examples);
}

export function addExamples(command: Command, ...examples: readonly string[]): Command {
  const lines = examples.map((example) => `  npx device-pipeline ${example}\n`);
  return command.addHelpText('after', `\nExamples:\n${lines.join('')}`);
}
