import { readFileSync } from 'node:fs';

import { needsOf } from '../../../infra/local/emulators/permissions.ts';
import type { AwsCall } from '../../../infra/local/emulators/wire-call.ts';
import type { StackDescription } from '../../../infra/local/template/stack-description.ts';

const prefix = 'command';
const groups = ['archive', 'dlq', 'raw', 'token'];

/** The caller as which a command calls the emulators, so that its calls are known from others. */
export function callerOf([first = '', second = '']: readonly string[]): string {
  return prefix + first + (groups.includes(first) ? second : '');
}

export function isCommand({ caller }: AwsCall): boolean {
  return caller.startsWith(prefix);
}

/** @throws if a command made a call that docs/deploying.md does not name among what it needs. */
export function checkDocumented(calls: readonly AwsCall[], stack: StackDescription): void {
  const documented = documentedActions();
  const missing = calls.flatMap((call) =>
    needsOf(call, stack)
      .filter(({ action }) => documented.get(call.caller)?.has(action) !== true)
      .map(
        ({ action, resource }) => `${call.caller.slice(prefix.length)}: ${action} on ${resource}`,
      ),
  );
  if (missing.length === 0) return;
  throw new Error(`docs/deploying.md does not name ${[...new Set(missing)].join('; ')}`);
}

/** The actions that a command needs, by its caller. */
function documentedActions(): Map<string, Set<string>> {
  const page = readFileSync(new URL('../../../docs/deploying.md', import.meta.url), 'utf8');
  const [, section = ''] = page.split('### What an operator may do\n');
  const [list = ''] = section.split('\n## ');
  const documented = new Map<string, Set<string>>();
  for (const item of list.split('\n- ').slice(1)) {
    const [, title = '', text = ''] = /^\*\*(.*?)\*\*(.*)$/s.exec(item) ?? [];
    const actions = actionsIn(text);
    for (const [, command = ''] of text.matchAll(/as for `(\w+)`/g)) {
      for (const action of documented.get(callerOf([command])) ?? []) actions.add(action);
    }
    for (const [, command = ''] of title.matchAll(/`(.*?)`/g)) {
      documented.set(callerOf(command.split(' ')), actions);
    }
  }
  return documented;
}

/** The names of actions; one without a service is of the service of the one before. */
function actionsIn(text: string): Set<string> {
  let service = '';
  const names = text.matchAll(/`(?:(\w+):)?([A-Z][A-Za-z]+)`/g);
  return new Set(
    names.map(([, of = service, name = '']) => {
      service = of;
      return `${of}:${name}`;
    }),
  );
}
