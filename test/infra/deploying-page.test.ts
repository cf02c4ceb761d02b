import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { checkSettings } from '../../infra/read-settings.ts';
import { settingNames, settingTable } from '../../infra/settings.ts';
import { projectRoot, Synthesized } from './support.ts';

const page = readFileSync(join(projectRoot, 'docs/deploying.md'), 'utf8');

/** The first two cells of each row that begins with something in backquotes. */
function rows(heading: string): string[][] {
  const section = page.split(`\n${heading}\n`)[1]?.split('\n## ')[0] ?? '';
  return section
    .split('\n')
    .filter((line) => line.startsWith('| `'))
    .map((line) => line.split('|').map((cell) => cell.trim().replaceAll('`', '')))
    .map(([, first = '', second = '']) => [first, second]);
}

describe('docs/deploying.md', () => {
  test('lists every setting with its default', () => {
    expect(rows('## Settings')).toEqual(
      settingNames.map((name) => [name, String(settingTable[name].default)]),
    );
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
    expect(rows('## Watching it').map(([name]) => name)).toEqual(alarms);
    const outputs = rows('## Deploy').flatMap(([names = '']) => names.split(', '));
    expect(outputs.sort()).toEqual(Object.keys(template.findOutputs('*')).sort());
  });
});
