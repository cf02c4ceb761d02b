import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { fixedMonth, monthDollars } from '../../bench/aws/month.ts';
import type { Template } from '../../infra/local/template/template.ts';
import { checkSettings } from '../../infra/read-settings.ts';
import { defaultSettings, settingNames, settingTable } from '../../infra/settings.ts';
import { projectRoot, Synthesized } from './support.ts';

const page = readFileSync(join(projectRoot, 'docs/deploying.md'), 'utf8');

function section(heading: string): string {
  return page.split(`\n${heading}\n`)[1]?.split('\n## ')[0] ?? '';
}

/** The name and the rest of each item of a list that begins with a name in backquotes. */
function items(heading: string): [string, string][] {
  const found = section(heading).matchAll(/^- `(\w+)`:? (.*(?:\n {2}.*)*)/gm);
  return [...found].map(([, name = '', text = '']) => [name, text.replaceAll(/\s+/g, ' ')]);
}

describe('docs/deploying.md', () => {
  test('lists every setting with its default', () => {
    const listed = items('## Settings').map(([name, text]) => [name, /^\(`(.*?)`/.exec(text)?.[1]]);
    expect(listed).toEqual(settingNames.map((name) => [name, String(settingTable[name].default)]));
  });

  test('shows settings that are allowed', () => {
    const examples = page.match(/\{ ?"(alarmEmail|stackName)".*?\}/g) ?? [];
    expect(examples).toHaveLength(2);
    for (const example of examples) {
      expect(checkSettings(JSON.parse(example) as Record<string, unknown>).kind).toBe('read');
    }
  });

  test('lists every alarm and every output', () => {
    const { template } = new Synthesized();
    const alarms = Object.keys(template.findResources('AWS::CloudWatch::Alarm')).map((id) =>
      id.replace(/[0-9A-F]{8}$/, ''),
    );
    expect(items('## Monitoring').map(([name]) => name)).toEqual(alarms);
    const cells = [...section('## Deploy').matchAll(/^\| (`.*?) +\|/gm)];
    const outputs = cells.flatMap(([, names = '']) => names.replaceAll('`', '').split(', '));
    expect(outputs.sort()).toEqual(Object.keys(template.findOutputs('*')).sort());
  });

  test('states the monthly cost of the template, and its sums are right', () => {
    const fixed = fixedMonth(new Synthesized().template.toJSON() as Template);
    const told = costs().map(([what, units, dollars]) => [what, units, Number(dollars)]);
    expect(told.slice(0, fixed.length)).toEqual(
      fixed.map((line) => [
        line.what,
        line.units.toLocaleString('en-US'),
        Number(monthDollars([line]).toFixed(2)),
      ]),
    );
    const sum = told.slice(0, -1).reduce((total, [, , dollars]) => total + Number(dollars), 0);
    expect(told.at(-1)).toEqual(['all', '', Number(sum.toFixed(2))]);
  });

  test('states how many metrics the dashboard shows', () => {
    const stack = new Synthesized();
    const [dashboard] = Object.values(stack.all('AWS::CloudWatch::Dashboard'));
    const metrics = widgetsOf(dashboard?.Properties['DashboardBody']).flatMap(
      ({ properties }) => properties.metrics ?? [],
    );
    expect(page).toContain(`at most 50 metrics (this one has ${metrics.length})`);
    expect(metrics.length).toBeLessThanOrEqual(50);
  });

  test('states when alarms are raised', () => {
    const stack = new Synthesized();
    const alarm = (name: string) => {
      const { Threshold, Period } = stack.properties('AWS::CloudWatch::Alarm', name);
      return { atLeast: Number(Threshold), minutes: Number(Period) / 60 };
    };
    const whenOf = Object.fromEntries(items('## Monitoring'));
    const [server, throttled] = [alarm('ServerErrors'), alarm('RequestsThrottledOften')];
    expect(whenOf).toMatchObject({
      OldestMessageWaits: `batches that were received ${alarm('OldestMessageWaits').atLeast / 60} minutes ago or earlier wait to be counted, according to SQS, the processor or the sweeper`,
      ServerErrors: `${server.atLeast} responses were 5xx within ${server.minutes} minutes`,
      RequestsThrottledOften: `${throttled.atLeast} responses were 429 within ${throttled.minutes} minutes`,
    });
  });
});

test('docs/scaling.md names the throttles as deployed', () => {
  const scaling = readFileSync(join(projectRoot, 'docs/scaling.md'), 'utf8').replaceAll(
    /\s+/g,
    ' ',
  );
  const { throttleRate, throttleBurst, queryThrottleRate, queryThrottleBurst } = defaultSettings;
  expect(scaling).toContain(`\`throttleRate\` ${throttleRate} (burst ${throttleBurst})`);
  expect(scaling).toContain(
    `\`queryThrottleBurst\` (${queryThrottleRate} and ${queryThrottleBurst} as deployed)`,
  );
});

/** The cells of the first table of costs, below its head. */
function costs(): string[][] {
  const table =
    section('## What it costs')
      .split('\n\n')
      .find((block) => block.startsWith('| a month')) ?? '';
  const lines = table.trim().split('\n').slice(2);
  return lines.map((line) =>
    line
      .split('|')
      .slice(1, -1)
      .map((cell) => cell.trim()),
  );
}

interface Widget {
  readonly properties: { readonly metrics?: readonly unknown[] };
}

/** The widgets of a dashboard's body, in which names of resources are still placeholders. */
function widgetsOf(body: unknown): Widget[] {
  const { 'Fn::Join': joined } = body as { 'Fn::Join': [string, (string | object)[]] };
  const text = joined[1].map((part) => (typeof part === 'string' ? part : 'name')).join('');
  return (JSON.parse(text) as { widgets: Widget[] }).widgets;
}
