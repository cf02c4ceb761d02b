import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { expect } from 'vitest';

import type { World } from './worlds.ts';

/** What a command of the documents has to do. Its exit code has to be 0. */
export interface Rule {
  readonly command: RegExp;
  /** The whole of stdout; without it, nothing. */
  readonly prints?: RegExp;
  /** The whole of stderr; without it, nothing. */
  readonly says?: RegExp;
  readonly before?: (world: World, text: string) => unknown;
  readonly after?: (world: World, text: string, document: string) => unknown;
}

const anything = /^[^]*$/;
const shownOnce = /^\S+, for [\w,]+.*\. It cannot be shown again\. .*\n$/;

/** The first rule that matches applies. */
const rules: readonly Rule[] = [
  { command: /^(npm ci && )?npm start$/, prints: /^listening on http:\S+\n$/ },
  {
    command: /^(npm install \S+ && )?npx device-pipeline serve( |$)/,
    prints: /^listening on http:\S+\n$/,
  },
  { command: /^npx cdk .*-c settings=/, before: addSettings },
  {
    command: each(/(npm|npx cdk|sudo|systemctl|journalctl|iostat|git|apt-get) [^&|]*/),
    ...standIn(),
  },
  { command: /^echo \S+ \| sudo tee -a \/etc\/\S+$/, prints: /^\w+=\S+\n$/, ...standIn() },
  { command: /^docker run .* token create /, prints: /^dpl_\S+\n$/, says: shownOnce },
  { command: /^(docker|node bench\/\S+) ?/, ...standIn(), prints: anything },
  { command: /^aws sts get-caller-identity$/, prints: /^\{"Account"/ },
  { command: /^aws secretsmanager [^]*put-secret-value /, prints: /^\{\}\n$/ },
  {
    command:
      /^(for TABLE in .*\n +)?aws (lambda|events|dynamodb|service-quotas|s3 cp|cloudformation deploy) /,
    ...standIn(),
    prints: /^(\{\}\n)+$/,
  },
  { command: /^curl [^]*\/ingest\b/, prints: /^\{"status":"accepted",.*"enqueued":5\}$/ },
  { command: /^curl .*\/stats\?/, prints: /^\[(\{"date":"[^{}]*"count":\d+\},?)+\]$/ },
  { command: /^curl .*\/readyz/, prints: /^\{"status":"ready",/ },
  {
    command: command('check'),
    prints: /\nall steps passed(, with 1 warning)?; no items were sent/,
  },
  {
    command: /^DEVICE_PIPELINE_TOKEN=\$TOKEN npx device-pipeline check --stack \S+$/,
    prints: /\nall steps passed(, with 1 warning)?; no items were sent/,
  },
  { command: command('feed'), prints: /^batches +[1-9].*, 0 refused\n/, says: anything },
  { command: command('ingest'), prints: /^batches +[1-9]/, says: anything, before: addFiles },
  {
    command: /^tail .*\| npx device-pipeline ingest -$/,
    prints: /^batches +[1-9]/,
    says: anything,
    before: addFiles,
  },
  {
    command: command('stats .*--csv'),
    prints: /^\ufeff?date,type,state,count\r\n/,
    says: /^the last 7/,
  },
  { command: command('stats .*--date'), prints: /│ total +│ +\d/ },
  { command: command('stats'), prints: /│ total +│ +\d/, says: /^the last 7 days/ },
  {
    command: command('audit'),
    prints: /^[1-9][\d,]* items? of .*everything agrees\n$/s,
    says: anything,
  },
  {
    command: command('rebuild.* --dry-run'),
    prints: /^0 differences; nothing was changed/,
    says: anything,
  },
  {
    command: command('rebuild.* --drop-old'),
    prints: /^old counters dropped\n$/,
    before: ({ run }) => run('', 'npx device-pipeline rebuild'),
  },
  { command: command('rebuild'), prints: /: 0 differences|^0 counters corrected/, says: anything },
  { command: command('adopt'), prints: /^nothing to adopt: / },
  { command: command('raw list'), prints: /^(\{.*"raw_key":"raw\/.*\}\n)+$/ },
  { command: command('raw get'), prints: /^\{\s*"processed_devices":/ },
  { command: command('raw export'), prints: /^[1-9][\d,]* batch(es)? in \S+\n$/, says: anything },
  {
    command: command('dlq list'),
    prints: /\n {2}first failed /,
    before: (world) => world.addDeadLetter(),
  },
  {
    command: command('dlq redrive'),
    prints:
      /^(.*: sent\n)*(counted [1-9]\d*, not counted 0|sent [1-9]\d* to be counted, left 0)\n$/,
    before: (world, text) => world.addDeadLetter(reasonIn(text)),
  },
  {
    command: command('dlq drop'),
    prints: /^(dropped 1|\S+: already counted from another copy; removed\ndropped 0); they stay/,
    before: async (world, text) => {
      if (/--(all|reason)/.test(text)) await world.addDeadLetter(reasonIn(text));
    },
  },
  {
    command: command('replay'),
    prints: /^batches +[1-9][\d,]* sent, .* 0 refused\n/,
    says: anything,
  },
  { command: command('backup'), prints: /^\d+ MiB in /, says: anything },
  {
    command: command('archive status'),
    prints: /^log +[0-9a-f]{32}\nholds +byte .*\nserver +\S+, /s,
  },
  {
    command: command('archive verify'),
    prints: /^[1-9].* objects of .*\n[1-9].* items of .*\nnothing is missing or damaged\n$/,
  },
  {
    command: command('archive prune .*--dry-run'),
    prints: /^0 objects of 0 bytes would be removed\n$/,
  },
  { command: command('archive list'), prints: /^(\{.*"kind":"(claim|piece)".*\}\n){2,}$/ },
  {
    command: command('restore'),
    prints: /^\d+ MiB in \S+(, archived until \S+Z)?\. Check /,
    says: anything,
  },
  { command: command('token create'), prints: /^dpl_\S+\n$/, says: shownOnce, before: freeName },
  {
    command: /^npx device-pipeline token create .* > \S+$/,
    ...{ says: shownOnce, before: freeName, after: hasToken },
  },
  { command: /^pipeline token create /, prints: /^dpl_\S+\n$/, says: shownOnce },
  { command: command('token rotate'), prints: /^dpl_\S+\n$/, says: /the old token expires at/ },
  { command: command('token revoke'), prints: /^revoked \S+\n$/, says: anything },
  { command: command('token list'), prints: /^(\S+ +for .*sha256 .*\n)+$/ },
  { command: /^npx device-pipeline COMMAND$/, prints: /^\d+\.\d+\.\d+\n$/ },
  { command: command('\\S+ --help'), prints: /^Usage: device-pipeline \w/ },
  { command: /^sqlite3 .*'SELECT /, prints: /^(20\d\d-\d\d-\d\d\|.*\|\d+\n)+$/ },
  { command: /^MADE=\$MADE node -p /, prints: /^dpl_\S+\n$/ },
  { command: /^[A-Z]+=\$\([^]*\btoken create [^]*--print-entry[^]*\)$/, after: isSet },
  { command: /^[A-Z]+=\$\([^]*\btoken create [^]*\)$/, says: shownOnce, after: isSet },
  { command: /^[A-Z_]+=\$\((output|resource|aws) [^]*\)$/, after: isSet },
  { command: /^\w+\(\) \{[^]*\}$/ },
];

/**
 * The output of programs that send an event with the client, and with the standard library alone.
 */
const sentOne: Readonly<Record<string, RegExp>> = {
  ts: /^\{ accepted: 1, refused: 0, givenUp: 0 \}\n$/,
  python: /^\{'status': 'accepted', .*'enqueued': 1\}\n$/,
};

/** @throws if no rule covers the command. */
export function ruleOf(language: string, text: string): Rule {
  const prints = sentOne[language];
  if (prints !== undefined) return { command: anything, prints };
  const command = text.replace(/ +# .*$/, '');
  const rule = rules.find(({ command: form }) => form.test(command));
  if (rule !== undefined) return rule;
  throw new Error(`no rule in test/support/documents/rules.ts says what "${text}" has to do`);
}

/** `npx device-pipeline …`, by its arguments. */
function command(rest: string): RegExp {
  return new RegExp(`^npx device-pipeline ${rest}(?= |$)(?!.* > )[^|&]*$`);
}

/** Commands of this form only, each after the one before it succeeded. */
function each({ source }: RegExp): RegExp {
  return new RegExp(`^${source}(&& ${source})*$`);
}

/** A stand-in checked the arguments. It prints nothing. */
function standIn(): Pick<Rule, 'before' | 'after'> {
  let before = 0;
  return {
    before: ({ calls }) => (before = calls()),
    after: ({ calls }) => expect(calls()).toBeGreaterThan(before),
  };
}

function reasonIn(text: string): string | undefined {
  return /--reason (\w+)/.exec(text)?.[1];
}

/** The files that the command reads. */
function addFiles({ workspace }: World, text: string): void {
  const items = [1, 2].map((n) => ({
    type: 'lamp',
    state: `${n}`,
    timestamp: '2026-06-17T12:00:00Z',
  }));
  for (const [name] of text.matchAll(/\b\w+\.(ndjson|json)\b/g)) {
    const lines = items.map((item) => `${JSON.stringify(item)}\n`).join('');
    workspace.write(name, name.endsWith('.json') ? JSON.stringify(items) : lines);
  }
}

/** The settings file that the command reads: its comment says what is in it. */
function addSettings({ workspace }: World, text: string): void {
  const [, name, content] = /settings=(\S+) +# (\{.*\})$/.exec(text) ?? [];
  if (name !== undefined && content !== undefined) workspace.write(name, content);
}

/** Frees a name that an earlier command used. */
function freeName({ workspace }: World, text: string): void {
  const path = join(workspace.directory, 'data/tokens.json');
  const [, name] = /--name (\S+)/.exec(text) ?? [];
  if (!existsSync(path)) return;
  const { tokens } = JSON.parse(readFileSync(path, 'utf8')) as { tokens: { name: string }[] };
  const others = tokens.filter((token) => token.name !== name);
  if (others.length < tokens.length)
    workspace.write('data/tokens.json', JSON.stringify({ tokens: others }));
}

function hasToken({ workspace }: World, text: string): void {
  const [, file = ''] = / > (\S+)$/.exec(text) ?? [];
  expect(readFileSync(join(workspace.directory, file), 'utf8')).toMatch(/^dpl_\S+\n$/);
}

async function isSet({ run }: World, text: string, document: string): Promise<void> {
  const [name = ''] = /^\w+/.exec(text) ?? [];
  expect((await run(document, `printf %s "$${name}"`)).stdout).toMatch(/^\S{8,}$/);
}
