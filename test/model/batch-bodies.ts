import { readFileSync } from 'node:fs';
import { join } from 'node:path';

type Random = () => number;

const ours = ['type', 'state', 'timestamp'] as const;
type Member = readonly [key: string, value: string];

/** A body that the scanner must accept: any order, white space and other members in ASCII. */
export function plainBody(random: Random): string {
  const items = Array.from({ length: below(random, 5) }, () =>
    object(random, plainMembers(random)),
  );
  return document(random, items, []);
}

/** A body as a client's serializer writes it: all items in one layout, some bodies with offsets. */
export function uniformBody(random: Random): string {
  const [beforeKey, afterColon] = [blank(random), blank(random)];
  const between = pick(random, [',', ', ', ',\n']);
  const others = pick<string[]>(random, [[], [], ['id'], ['id', 'weight'], ['site name, as text']]);
  const keys = shuffle(random, [...ours, ...others]);
  const offsets = random() < 0.8 ? ['Z'] : ['Z', '+00:00', '-05:00', '+05:30', '+23:59'];
  const names = random() < 0.8 ? ['laptop', 'phone', 'graphics workstation'] : longNames;
  const itemOf = () => {
    const values: Record<string, string> = {
      type: `"${pick(random, names)}"`,
      state: `"${pick(random, ['erased', 'erasure failed', 'a'])}"`,
      timestamp: `"${withOffset(plainTimestamp(random), pick(random, offsets))}"`,
      id: pick(random, ['"dev-17"', '""', '"an id of more than sixteen bytes"', 'null', 'true']),
      weight: pick(random, ['1.25', '0', '-3e-7', '17', 'false']),
    };
    const members = keys.map((key) => `${beforeKey}"${key}":${afterColon}${values[key] ?? '1'}`);
    return `{${members.join(between)}${beforeKey}}`;
  };
  const items = Array.from({ length: below(random, 20) }, itemOf);
  return `{"processed_devices":[${items.join(between)}]}`;
}

/** The body with another digit somewhere, or an odd value of one of our members. */
export function withOddValue(body: string, random: Random): string {
  if (random() < 0.5) {
    const digit = pick(random, [...body.matchAll(/\d/g), undefined]);
    if (digit === undefined) return body;
    return `${body.slice(0, digit.index)}${below(random, 10)}${body.slice(digit.index + 1)}`;
  }
  const key = pick(random, ours);
  const found = pick(random, [
    ...body.matchAll(new RegExp(`"${key}"\\s*:\\s*("[^"]*")`, 'g')),
    undefined,
  ]);
  if (found === undefined) return body;
  const value = JSON.stringify(pick(random, key === 'timestamp' ? oddTimestamps : oddNames));
  const end = found.index + found[0].length;
  return body.slice(0, end - (found[1] ?? '').length) + value + body.slice(end);
}

/** The like, with anything in it that JSON may have, and some that it may not. */
export function strangeBody(random: Random): string {
  const items = Array.from({ length: below(random, 5) }, () =>
    random() < 0.05 ? pick(random, oddValues) : object(random, strangeMembers(random)),
  );
  const more: Member[] = [];
  if (random() < 0.1) more.push(['"processed_devices"', pick(random, ['[]', 'null', '{}'])]);
  if (random() < 0.1) more.push([pick(random, oddKeys), pick(random, oddValues)]);
  if (random() < 0.1) more.push(['"deep"', nested(59 + below(random, 8), random)]);
  const text = document(random, items, more);
  if (random() < 0.05) return `\ufeff${text}`;
  return random() < 0.05 ? text + pick(random, ['x', '}', ' 1', '\u0000', ',']) : text;
}

function document(random: Random, items: readonly string[], more: readonly Member[]): string {
  const list = `[${blank(random)}${items.join(`${blank(random)},${blank(random)}`)}${blank(random)}]`;
  const members = [...more, ...otherMembers(random), ['"processed_devices"', list] as const];
  return blank(random) + object(random, shuffle(random, members)) + blank(random);
}

function object(random: Random, members: readonly Member[]): string {
  const texts = members.map(
    ([key, value]) =>
      blank(random) + key + blank(random) + ':' + blank(random) + value + blank(random),
  );
  return `{${texts.join(',')}}`;
}

function plainMembers(random: Random): readonly Member[] {
  const members: Member[] = [
    ['"type"', `"${plainName(random)}"`],
    ['"state"', `"${plainName(random)}"`],
    ['"timestamp"', `"${plainTimestamp(random)}"`],
    ...otherMembers(random),
  ];
  return random() < 0.5 ? members : shuffle(random, members);
}

function strangeMembers(random: Random): readonly Member[] {
  const members = [...plainMembers(random)];
  if (random() < 0.2) {
    const values = [...oddNames, ...oddTimestamps].map((text) => JSON.stringify(text));
    members[below(random, 3)] = [
      `"${pick(random, ours)}"`,
      pick(random, [...values, ...oddValues, '"\\u0041"', '"a\\"b"', '"a\tb"']),
    ];
  }
  if (random() < 0.1) members.push([pick(random, oddKeys), pick(random, oddValues)]);
  if (random() < 0.05) members.splice(below(random, members.length), 1);
  if (random() < 0.03) members.push(['"x"', nested(57 + below(random, 8), random)]);
  return members;
}

function otherMembers(random: Random): Member[] {
  if (random() < 0.7) return [];
  return Array.from({ length: below(random, 3) }, () => [
    pick(random, [
      '"id"',
      '"types"',
      '"typ"',
      '"t"',
      '""',
      '"Type"',
      '"time stamp"',
      '"__proto__"',
    ]),
    pick(random, otherValues),
  ]);
}

const longNames = ['x'.repeat(127), 'x'.repeat(128), `${'x'.repeat(127)}y`, 'x'.repeat(16)];

const otherValues = [
  'null',
  'true',
  'false',
  '0',
  '-0',
  '-1.5e-7',
  '10',
  '1E+2',
  '""',
  '"a \\" \\\\ \\/ \\b\\f\\n\\r\\t \\u00e9\\uD83D"',
  '[]',
  '{}',
  '[ 1 , [ ] , { "type" : "b" } ]',
  '{"type":"x","a":[true,null]}',
  '"\u007f"',
];

const oddValues = [
  ...otherValues,
  '01',
  '1.',
  '.5',
  '-',
  '1e',
  '+1',
  'nul',
  'tru e',
  'NaN',
  '[1,]',
  '{"a":1,}',
  '{a:1}',
  '"\\x"',
  '"\\u12g4"',
  '"\u0001"',
  '"é"',
  '"\ud800"',
  "'a'",
  '"a',
  '',
  '1 2',
  '"a" "b"',
];

const oddKeys = [
  '"type"',
  '"state"',
  '"timestamp"',
  '"t\\u0079pe"',
  '"processed\\u005fdevices"',
  '"é"',
  'type',
  '1',
];

const oddNames = [
  '',
  ' ',
  ' a',
  'a ',
  'é',
  '\u007f',
  'a'.repeat(128),
  'b'.repeat(129),
  '\u2003x',
  '日本',
];

/** 128 bytes long, the most that a member may be, with what stands before and behind. */
const longestFraction = `.${'0'.repeat(107)}`;

const oddTimestamps = [
  `2023-06-16T13:00:00${longestFraction}Z`,
  `2023-06-16T13:00:00${longestFraction}0Z`,
  '2023-06-16',
  '2023-06-16T13:00:00z',
  '2023-06-16t13:00:00Z',
  '2023-06-16 13:00:00Z',
  '2023-06-16T13:00:00.5Z',
  '2023-06-16T13:00:00+00:00',
  '2023-06-16T23:59:60Z',
  '2023-06-16T24:00:00Z',
  '2023-06-16T13:60:00Z',
  '2023-06-16T13:00:61Z',
  '2023-02-29T13:00:00Z',
  '2024-02-29T13:00:00Z',
  '1900-02-29T13:00:00Z',
  '2000-02-29T13:00:00Z',
  '2023-04-31T13:00:00Z',
  '2023-00-10T13:00:00Z',
  '2023-13-10T13:00:00Z',
  '2023-01-00T13:00:00Z',
  '0000-01-01T13:00:00Z',
  '0001-01-01T00:00:00Z',
  '0001-01-01T00:00:00+05:00',
  '1972-12-31T23:59:59Z',
  '1973-01-01T00:00:00Z',
  '2016-12-31T23:59:60Z',
  '2017-01-01T12:59:60+13:00',
  '2023-03-25T23:00:00Z',
  '2023-06-16T22:00:00Z',
  '2023-06-17T09:00:00+13:00',
  '9999-12-31T23:59:59-01:00',
  '9999-12-31T23:59:59Z',
  '2023-06-1:T13:00:00Z',
  '2023-06-16T13:00:00Z ',
];

function plainName(random: Random): string {
  const length = random() < 0.95 ? 1 + below(random, 12) : pick(random, [127, 128]);
  let name = '';
  while (name.length < length) {
    const letter = String.fromCharCode(0x20 + below(random, 0x5f));
    const isEdge = name.length === 0 || name.length === length - 1;
    if (letter !== '"' && letter !== '\\' && !(isEdge && letter === ' ')) name += letter;
  }
  // Few enough for counters to repeat.
  return random() < 0.7 ? pick(random, ['laptop', 'phone', 'erased', 'a#b', 'a', '%']) : name;
}

function plainTimestamp(random: Random): string {
  const instant = Date.UTC(1 + below(random, 9998), 0, 1) + random() * 366 * 86_400_000;
  const day = random() < 0.8 ? Date.UTC(2023, 5, 16) + random() * 3e8 : instant;
  const text = new Date(Math.min(day, Date.UTC(9999, 11, 31))).toISOString();
  const fraction = pick(random, ['', '', '.0', '.000', '.123456789', longestFraction]);
  return `${text.slice(0, 19)}${fraction}Z`;
}

function withOffset(timestamp: string, offset: string): string {
  // The longest fraction leaves no room for an offset.
  return offset === 'Z' ? timestamp : timestamp.replace(longestFraction, '').replace('Z', offset);
}

function nested(depth: number, random: Random): string {
  const isList = random() < 0.5;
  const [open, close] = isList ? ['[', ']'] : ['{"a":', '}'];
  return open.repeat(depth) + (isList ? '' : '1') + close.repeat(depth);
}

/** Changes a few bytes, near each other or not. */
export function mutate(body: Buffer, random: Random): Buffer {
  let bytes = body;
  for (let times = 1 + below(random, 3); times > 0; times--) {
    const at = below(random, bytes.length + 1);
    const to = Math.min(bytes.length, at + pick(random, [0, 0, 1, 1, 2, 8, 40]));
    const inserted = pick(random, [
      () => Buffer.alloc(0),
      () => Buffer.of(below(random, 256)),
      () => Buffer.from(pick(random, structural)),
      () => Buffer.from(body.subarray(at, at + below(random, 30))),
    ])();
    bytes = Buffer.concat([bytes.subarray(0, at), inserted, bytes.subarray(to)]);
  }
  return bytes;
}

const structural = [
  '{',
  '}',
  '[',
  ']',
  ',',
  ':',
  '"',
  '\\',
  ' ',
  '\n',
  '\t',
  '0',
  '-',
  'Z',
  'T',
  '\u00a0',
];

/** The bodies of the contract's cases that are given as text or as a value. */
export function contractBodies(): Buffer[] {
  const path = join(import.meta.dirname, '../contract/cases/ingest.json');
  return bodiesIn(JSON.parse(readFileSync(path, 'utf8')));
}

function bodiesIn(value: unknown): Buffer[] {
  if (typeof value !== 'object' || value === null) return [];
  const { body, items } = value as { body?: unknown; items?: unknown };
  const own = body ?? (Array.isArray(items) ? { processed_devices: items } : undefined);
  const text = typeof own === 'string' ? own : JSON.stringify(own);
  const inner = Object.values(value).flatMap(bodiesIn);
  return own === undefined ? inner : [Buffer.from(text), ...inner];
}

function blank(random: Random): string {
  return random() < 0.85 ? '' : pick(random, [' ', '\n', '\t', '\r\n', '   ']);
}

function shuffle<T>(random: Random, values: readonly T[]): T[] {
  const left = [...values];
  return values.map(() => left.splice(below(random, left.length), 1)[0] as T);
}

function pick<T>(random: Random, values: readonly T[]): T {
  return values[below(random, values.length)] as T;
}

function below(random: Random, end: number): number {
  return Math.floor(random() * end);
}
