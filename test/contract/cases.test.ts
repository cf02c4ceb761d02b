import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

const copies = join(import.meta.dirname, 'cases');
/** The specification, for who has it beside the repository; the others have its copies. */
const originals = join(import.meta.dirname, '../../../shared/contract');
const hasOriginals = existsSync(originals);
const names = ['ingest.json', 'query.json'];

describe(`the contract cases ${hasOriginals ? 'and the specification' : '(copies alone)'}`, () => {
  it.each(names)('%s is a list of cases, each with a name of its own', (name) => {
    const cases = JSON.parse(readFileSync(join(copies, name), 'utf8')) as { name: string }[];
    expect(cases.length).toBeGreaterThan(0);
    const caseNames = cases.map((each) => each.name);
    expect(caseNames.filter((each) => typeof each !== 'string' || each === '')).toEqual([]);
    expect(new Set(caseNames).size).toBe(caseNames.length);
  });

  it.each(names)('%s is the specification, byte for byte, where that is at hand', (name) => {
    const copy = readFileSync(join(copies, name));
    const original = hasOriginals ? readFileSync(join(originals, name)) : copy;
    expect(copy.equals(original)).toBe(true);
  });

  it('no file is missing', () => {
    expect(readdirSync(copies).sort()).toEqual(names);
    if (hasOriginals) expect(readdirSync(originals).sort()).toEqual(names);
  });
});
