import { readFileSync } from 'node:fs';
import { join } from 'node:path';

import ts from '@typescript/typescript6';
import { describe, expect, test } from 'vitest';

import { settingTable } from '../../infra/settings.ts';
import { projectRoot } from './support.ts';

const read = (path: string) => readFileSync(join(projectRoot, path), 'utf8');
const page = read('docs/cdk.md');
const props = membersOf('infra/construct/props.ts', 'DevicePipelineProps');

interface Member {
  readonly name: string;
  readonly text: string;
  readonly default: string;
}

/** The public members of an interface or a class, with their documentation on one line. */
function membersOf(path: string, declaration: string): Member[] {
  const source = ts.createSourceFile(path, read(path), ts.ScriptTarget.Latest, true);
  const found = source.statements.find(
    (node) =>
      (ts.isInterfaceDeclaration(node) || ts.isClassDeclaration(node)) &&
      node.name?.text === declaration,
  ) as ts.InterfaceDeclaration | ts.ClassDeclaration;
  return [...found.members].flatMap((member) => {
    const isPrivate = ts.getCombinedModifierFlags(member) & ts.ModifierFlags.Private;
    const tags = ts.getJSDocTags(member);
    const isInternal = tags.some(({ tagName }) => tagName.text === 'internal');
    if (member.name === undefined || isPrivate !== 0 || isInternal) return [];
    const doc = ts.getJSDocCommentsAndTags(member).find((node) => ts.isJSDoc(node));
    const value = tags.find(({ tagName }) => tagName.text === 'default')?.comment;
    return [
      {
        name: member.name.getText(),
        text: oneLine(ts.getTextOfJSDocComment(doc?.comment)),
        default: oneLine(ts.getTextOfJSDocComment(value)),
      },
    ];
  });
}

function oneLine(text = ''): string {
  return text.replaceAll(/\s+/g, ' ').trim();
}

/** An item of the list, made from the types. */
function itemOf({ name, text, default: value }: Member): string {
  const shown = value.startsWith('- ') ? value.slice(2) : `\`${value}\``;
  return value === '' ? `- \`${name}\`: ${text}` : `- \`${name}\` (${shown}): ${text}`;
}

function section(heading: string): string {
  return page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? '';
}

describe('docs/cdk.md', () => {
  const itemsOf = (heading: string) =>
    [...section(heading).matchAll(/^- .*(?:\n {2}.*)*/gm)].map(([item]) => oneLine(item));

  test('lists every prop with its default and what its type says', () => {
    expect(props.length).toBeGreaterThan(30);
    expect(itemsOf('Props')).toEqual(props.map(itemOf));
  });

  test('lists the fields of a domain in the same way', () => {
    const fields = membersOf('infra/construct/props.ts', 'PipelineDomain');
    expect(fields).toHaveLength(3);
    expect(itemsOf('A domain')).toEqual(fields.map(itemOf));
  });

  test('names every method and property', () => {
    const members = membersOf('infra/construct/device-pipeline.ts', 'DevicePipeline');
    expect(members.length).toBeGreaterThan(15);
    for (const { name } of members) {
      expect(section('Methods and properties')).toMatch(new RegExp(`\`${name}[\`(]`));
    }
  });
});

test('the defaults of the props are those of the settings', () => {
  const told = new Map(props.map((prop) => [prop.name, prop.default]));
  const special: Record<string, string> = {
    tokens: '- true, unless there is an `authorizer`',
    corsOrigins: '- none',
    functionUrl: 'false',
    athena: 'false',
    logRetentionDays: 'RetentionDays.ONE_MONTH',
    removalPolicy: 'RemovalPolicy.RETAIN',
  };
  let compared = 0;
  for (const [name, { default: value }] of Object.entries(settingTable)) {
    if (!told.has(name)) continue;
    const plain = typeof value === 'string' ? `'${value}'` : String(value);
    expect([name, told.get(name)]).toEqual([name, special[name] ?? plain]);
    compared += 1;
  }
  expect(compared).toBeGreaterThan(20);
});
