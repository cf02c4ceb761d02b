import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it } from 'vitest';

const copies = join(import.meta.dirname, 'cases');
/** The specification, if it is next to the repository; otherwise its copies. */
const originals = join(import.meta.dirname, '../../../shared/contract');
const hasOriginals = existsSync(originals);
/** The specification's SHA-256: changed together with the copies, when the specification is. */
const sha256: Record<string, string> = {
  'ingest.json': 'f7fcd4eda74af563526a054dc9740ac658783901afffa3441cb87a11c7336081',
  'query.json': 'd5aeffb9a9e9109d4f9178a9145c7a6f7222d15211b042177ec7aaada54c5151',
};
const names = Object.keys(sha256);

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
    expect(createHash('sha256').update(copy).digest('hex')).toBe(sha256[name]);
  });

  it('no file is missing', () => {
    expect(readdirSync(copies).sort()).toEqual(names);
    if (hasOriginals) expect(readdirSync(originals).sort()).toEqual(names);
  });
});
