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
  const documented = documentedRights();
  const missing = calls.flatMap((call) =>
    needsOf(call, stack)
      .map(({ action, resource }) => `${action} on ${nameOf(resource, stack)}`)
      .filter((right) => documented.get(call.caller)?.has(right) !== true)
      .map((right) => `${call.caller.slice(prefix.length)}: ${right}`),
  );
  if (missing.length === 0) return;
  throw new Error(`docs/deploying.md does not name ${[...new Set(missing)].sort().join('; ')}`);
}

/** What the page calls a resource. */
function nameOf(arn: string, { outputs, buckets }: StackDescription): string {
  const [, folder] = /^arn:aws:s3:::[^/]+\/([^/]*)/.exec(arn) ?? [];
  if (folder !== undefined) return `objects below ${folder}/`;
  const names: Record<string, string | undefined> = {
    'counters table': outputs['TableName'],
    'ledger table': outputs['LedgerTableName'],
    queue: outputs['QueueUrl'],
    'dead-letter queue': outputs['DeadLetterQueueUrl'],
    bucket: buckets[0],
  };
  const last = (text = '') => text.split(/[/:]/).at(-1);
  const found = Object.keys(names).find((name) => last(names[name]) === last(arn));
  // A queue given with `--queue` replaces the dead-letter queue.
  return found ?? (arn.startsWith('http') ? 'dead-letter queue' : arn);
}

const folders = ['raw', 'excluded', 'grouped'];

/** What a command may do by the page, as `action on resource`, by its caller. */
function documentedRights(): Map<string, Set<string>> {
  const page = readFileSync(new URL('../../../docs/deploying.md', import.meta.url), 'utf8');
  const [, section = ''] = page.split('### What an operator may do\n');
  const [list = ''] = section.split('\n## ');
  const documented = new Map<string, Set<string>>();
  for (const item of list.split('\n- ').slice(1)) {
    const [, title = '', text = ''] = /^\*\*(.*?)\*\*(.*)$/s.exec(item.replace(/\s+/g, ' ')) ?? [];
    const rights = rightsIn(text);
    for (const [, command = ''] of text.matchAll(/as for `(\w+)`/g)) {
      for (const right of documented.get(callerOf([command])) ?? []) rights.add(right);
    }
    for (const [, command = ''] of title.matchAll(/`(.*?)`/g)) {
      documented.set(callerOf(command.split(' ')), rights);
    }
  }
  return documented;
}

/** A resource is named before its actions. An action without a service is of that of the one before. */
function rightsIn(text: string): Set<string> {
  const rights = new Set<string>();
  let resources: readonly string[] = [];
  let service = '';
  const parts = text.matchAll(
    /on (?<where>both tables|its objects|the objects below (?<below>`\w+\/`(?: and `\w+\/`)*)|the [a-z -]*?(?:table|queue|bucket))|`(?:(?<of>\w+):)?(?<name>[A-Z][A-Za-z]+)`/g,
  );
  for (const { groups: { where, below, of, name } = {} } of parts) {
    if (where !== undefined) resources = resourcesOf(where, below);
    service = of ?? service;
    if (name === undefined) continue;
    for (const resource of resources) rights.add(`${service}:${name} on ${resource}`);
  }
  return rights;
}

function resourcesOf(where: string, below: string | undefined): readonly string[] {
  if (where === 'both tables') return ['counters table', 'ledger table'];
  const named = below?.match(/\w+/g) ?? (where === 'its objects' ? folders : undefined);
  return named?.map((folder) => `objects below ${folder}/`) ?? [where.replace('the ', '')];
}
