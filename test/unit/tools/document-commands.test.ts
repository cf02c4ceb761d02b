import { expect, it } from 'vitest';

import { examplesOf } from '../../support/documents/commands.ts';
import { ruleOf } from '../../support/documents/rules.ts';

const fence = '```';

it('takes blocks of code apart into commands, with the answer that follows', () => {
  const markdown = `# Title

${fence}sh
# a remark
npm ci && npm start

f() { curl -s "$1" \\
  --fail; }
cat <<'END' | sort
ls $(
END
TEXT='two
lines'     # and a remark
${fence}

${fence}json
{"a":1}
${fence}

${fence}yaml
curl: no command
${fence}

Text.

${fence}json
{"b":1}
${fence}

${fence}python
print(1)
${fence}
`;
  expect(examplesOf('a.md', markdown)).toEqual([
    {
      ...{ document: 'a.md', place: 'a.md:4', language: 'sh', answer: '{"a":1}' },
      commands: [
        { place: 'a.md:5', text: 'npm ci && npm start' },
        { place: 'a.md:7', text: 'f() { curl -s "$1" \\\n  --fail; }' },
        { place: 'a.md:9', text: "cat <<'END' | sort\nls $(\nEND" },
        { place: 'a.md:12', text: "TEXT='two\nlines'     # and a remark" },
      ],
    },
    {
      ...{ document: 'a.md', place: 'a.md:31', language: 'python' },
      commands: [{ place: 'a.md:31', text: 'print(1)\n' }],
    },
  ]);
});

it('refuses a block that ends within a command', () => {
  expect(() => examplesOf('a.md', `${fence}sh\necho 'a\n${fence}\n`)).toThrow(
    /^a\.md:2: .*no end$/,
  );
});

it.each([
  ['npm run build', 'npm run build'],
  ['curl -s localhost:8080/readyz', 'curl -s localhost:8080/readyz'],
  ['tail -f x \\| npx y', 'tail -f x | npx y'],
  ['npx device-pipeline audit\n  --stack NAME', 'npx device-pipeline audit --stack NAME'],
  ['serve --insecure', 'npx device-pipeline serve --insecure'],
  ['raw get <key>', 'npx device-pipeline raw get <key>'],
  ['raw mend', 'npx device-pipeline raw mend'],
  ['helm install -f x', 'helm install -f x'],
  ['kubectl get | less', 'kubectl get | less'],
])('takes the inline command %j', (span, text) => {
  const found = examplesOf('a.md', `One\nand \`${span}\`, and more`);
  expect(found.flatMap(({ commands }) => commands)).toEqual([{ place: 'a.md:2', text }]);
});

it.each([
  'npm',
  'serve',
  'raw get',
  'unexpected error in a request',
  '--port 8080',
  'cp -a',
  'per item',
  '"a" | "b"',
])('takes %j for no command', (span) => {
  expect(examplesOf('a.md', `One \`${span}\``)).toEqual([]);
});

it.each([
  'npx device-pipeline mend',
  'rm -rf x',
  'npx device-pipeline audit && rm -rf x',
  'npm ci && rm -rf x',
])('names %j, which no rule covers', (text) => {
  expect(() => ruleOf('sh', text)).toThrow(`says what "${text}" has to do`);
});
