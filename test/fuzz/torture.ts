/*
 * JSON of the kinds of the public torture suites (JSONTestSuite and others), as bodies of batches. Both
 * ways to read a body must give the same result, in linear time.
 */

const item = (members: string) => `{"processed_devices":[{${members}}]}`;
const ours = '"type":"a","state":"torture","timestamp":"2026-03-01T12:00:00Z"';
const withValue = (value: string) => item(`"x":${value},${ours}`);
const withName = (name: string) =>
  item(`"type":${name},"state":"torture","timestamp":"2026-03-01T12:00:00Z"`);

/** Bodies of text, by their kind. */
const texts: Record<string, string> = {
  'nothing but white space': ' \n\t\r ',
  'white space that JSON does not know': `\u00a0${item(ours)}`,
  'form feed': `\f${item(ours)}`,
  'byte order mark': `\ufeff${item(ours)}`,
  'two byte order marks': `\ufeff\ufeff${item(ours)}`,
  'line separators in a string': withValue('"\u2028\u2029"'),
  'a scalar': '1',
  'a string': '"processed_devices"',
  'a list': `[${item(ours)}]`,
  'no list': '{"processed_devices":{"0":{}}}',
  'a list by another name': '{"Processed_devices":[]}',
  'two documents': item(ours) + item(ours),
  'a comma behind': `${item(ours)},`,
  'a NUL behind': `${item(ours)}\u0000`,
  'a NUL before': `\u0000${item(ours)}`,
  'a comment': `/* */${item(ours)}`,
  'a comment behind': `${item(ours)}//`,
  'single quotes': "{'processed_devices':[]}",
  'no quotes': '{processed_devices:[]}',
  'trailing commas': '{"processed_devices":[,],}',
  'the list twice, the second empty': `{"processed_devices":[{${ours}}],"processed_devices":[]}`,
  'the list twice, the first no list': `{"processed_devices":1,"processed_devices":[{${ours}}]}`,
  'the list by an escaped name': `{"processed\\u005fdevices":[{${ours}}]}`,
  'type twice': item(`"type":"b",${ours}`),
  'type twice, escaped': item(`${ours},"t\\u0079pe":"b"`),
  'many times': item(`${'"type":"b",'.repeat(3000)}${ours}`),
  '__proto__ as a member': item(
    `"__proto__":{"type":"x","state":"y"},"timestamp":"2026-03-01T12:00:00Z"`,
  ),
  '__proto__ beside the list': `{"__proto__":{"processed_devices":[]}}`,
  'constructor and the like': withValue('{"constructor":{"prototype":{"type":1}},"toString":1}'),
  'huge exponent': withValue('1e400'),
  'huge negative exponent': withValue('-1e-99999999999999999999'),
  'exponent of many digits': withValue(`1e${'9'.repeat(2000)}`),
  'ten thousand digits': withValue('7'.repeat(10_000)),
  'ten thousand digits behind the point': withValue(`0.${'7'.repeat(10_000)}`),
  'leading zeros': withValue('-012'),
  'minus alone': withValue('-'),
  plus: withValue('+1'),
  'a point alone': withValue('.'),
  'a point at the end': withValue('1.'),
  hexadecimal: withValue('0x1F'),
  'NaN and Infinity': withValue('[NaN,-Infinity]'),
  'full-width digits': withValue('\uff11'),
  'half a true': withValue('tru'),
  'a capital True': withValue('True'),
  'a tab in a string': withValue('"\t"'),
  'a line end in a string': withValue('"\n"'),
  'an escape that is none': withValue('"\\a"'),
  'an escaped NUL': withName('"\\u0000"'),
  'half an escape': withValue('"\\u00A"'),
  'an escape at the end': '{"processed_devices":["\\',
  'a lone high surrogate': withName('"\\uD800"'),
  'a lone low surrogate': withName('"\\uDC00"'),
  'surrogates turned round': withName('"\\uDC00\\uD800"'),
  'a high surrogate and text': withName('"\\uD800a"'),
  'a pair, escaped': withName('"\\uD83D\\uDE00"'),
  'a lone surrogate in another member': withValue('"\\uD800"'),
  noncharacters: withName('"\\uFFFE\\uFFFF\\uDBFF\\uDFFF"'),
  'a name with 43 letters of three bytes': withName(`"${'\u65e5'.repeat(43)}"`),
  'a name of 128 bytes': withName(`"${'n'.repeat(128)}"`),
  'a huge name': withName(`"${'n'.repeat(200_000)}"`),
  'a huge string': withValue(`"${'s'.repeat(200_000)}"`),
  'a huge string of escapes': withValue(`"${'\\u0041\\n\\\\'.repeat(20_000)}"`),
  'a huge key': item(`"${'k'.repeat(100_000)}":1,${ours}`),
  'as many keys': withValue(`{${Array.from({ length: 5000 }, (_, at) => `"k${at}":0`).join()}}`),
  'keys that are indices': withValue(
    `{${Array.from({ length: 2000 }, (_, at) => `"${at * 4_294_967}":0`).join()}}`,
  ),
  'open brackets': '['.repeat(100_000),
  'open braces': '{"a":'.repeat(20_000),
  'closed brackets': ']'.repeat(100_000),
  'brackets in the list': `{"processed_devices":${'['.repeat(50_000)}${']'.repeat(50_000)}}`,
  'nested as deep as allowed': withValue(`${'['.repeat(61)}${']'.repeat(61)}`),
  'nested one deeper': withValue(`${'['.repeat(62)}${']'.repeat(62)}`),
  'brackets in strings': withValue(`"${'[{'.repeat(1000)}"`),
  'many empty items': `{"processed_devices":[${'{},'.repeat(5000)}{}]}`,
  'many nulls': `{"processed_devices":[${'null,'.repeat(5000)}0]}`,
  'quotes without end': `{"processed_devices":[${'"'.repeat(3001)}`,
  'backslashes without end': `{"processed_devices":["${'\\'.repeat(3001)}`,
  'naughty names': `{"processed_devices":[${[
    'undefined',
    'null',
    'true',
    'NaN',
    '1e3',
    '0x10',
    "Robert'); DROP TABLE counters;--",
    '<script>alert(1)</script>',
    '"><img src=x onerror=alert(1)>',
    '$(rm -rf ~)',
    '`id`',
    '../../etc/passwd',
    '%n%s%d',
    '{{7*7}}',
    '=1+1',
    '\u202etxt.exe',
    '\u200b',
    '\ufeff',
    'a\u0300',
    '\u00e0',
    '\u212b',
    '\u00c5',
    'Z\u0361\u034a\u0365algo',
    '\ud83d\udc69\u200d\ud83d\udc69\u200d\ud83d\udc67',
    '\u0130\u0131',
    '\ufdfa',
    'a#b',
    'a%23b',
    '__proto__',
  ]
    .map((type) => JSON.stringify({ type, state: 'torture', timestamp: '2026-03-01T12:00:00Z' }))
    .join()}]}`,
};

const around = (bytes: readonly number[]) =>
  Buffer.concat([
    Buffer.from('{"processed_devices":[{"type":"'),
    Buffer.from(bytes),
    Buffer.from('","state":"torture","timestamp":"2026-03-01T12:00:00Z"}]}'),
  ]);

/** Bodies that are not UTF-8, or are of another encoding. */
const others: Record<string, Buffer> = {
  'an overlong NUL': around([0xc0, 0x80]),
  'an overlong slash': around([0xe0, 0x80, 0xaf]),
  'an overlong quote': around([0xc0, 0xa2]),
  'overlong of four bytes': around([0xf0, 0x80, 0x80, 0xaf]),
  'an encoded high surrogate': around([0xed, 0xa0, 0x80]),
  'an encoded pair (CESU-8)': around([0xed, 0xa0, 0xbd, 0xed, 0xb8, 0x80]),
  'beyond U+10FFFF': around([0xf4, 0x90, 0x80, 0x80]),
  'five bytes': around([0xf8, 0x88, 0x80, 0x80, 0x80]),
  'a continuation alone': around([0x80]),
  'cut within a character': around([0xe6, 0x97]),
  'cut within a character at the end': Buffer.from([...Buffer.from('{"a":"'), 0xe6, 0x97]),
  'Latin 1': around([0xe9]),
  '0xFF': around([0xff]),
  'bad bytes in another member': Buffer.from(withValue('"\u00ff"'), 'latin1'),
  'bad bytes behind': Buffer.concat([Buffer.from(item(ours)), Buffer.from([0xff])]),
  'UTF-16LE with its mark': Buffer.from(`\ufeff${item(ours)}`, 'utf16le'),
  'UTF-16LE without': Buffer.from(item(ours), 'utf16le'),
  'UTF-16BE with its mark': Buffer.from(`\ufeff${item(ours)}`, 'utf16le').swap16(),
  'half a byte order mark': Buffer.from([0xef, 0xbb]),
  nothing: Buffer.alloc(0),
};

export const tortures: ReadonlyMap<string, Buffer> = new Map([
  ...Object.entries(texts).map(([name, text]) => [name, Buffer.from(text)] as const),
  ...Object.entries(others),
]);

/** The bodies that are small enough to be sent by the thousands. */
export const tortureBodies: readonly Buffer[] = [...tortures.values()].filter(
  ({ length }) => length < 12_000,
);
