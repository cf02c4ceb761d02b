import { spawnSync } from 'node:child_process';

/** A command of a document. */
export interface Command {
  readonly text: string;
  /** `README.md:36` */
  readonly place: string;
}

/** What a reader runs at once: a block of code, or a single command of the text. */
export interface Example {
  readonly document: string;
  readonly place: string;
  readonly language: 'sh' | 'ts' | 'python';
  readonly commands: readonly Command[];
  /** The block of JSON right after this one: what the last command prints. */
  readonly answer?: string;
}

/** The beginnings of an inline command. */
const programs = new Set(
  `apt-get aws curl device-pipeline docker git iostat journalctl node npm npx python3 rsync sqlite3
   sudo systemctl tail`.split(/\s+/),
);

/** The commands of our program, which the text also names alone: `raw list`, `serve --insecure`. */
const names = new Set(
  `adopt,archive,archive list,archive prune,archive status,archive verify,audit,backup,dlq,dlq drop,
   dlq list,dlq redrive,feed,ingest,raw,raw export,raw get,raw list,rebuild,replay,restore,serve,
   stats,token,token create,token list,token revoke,token rotate`.split(/,\s*/),
);
const firstWords = new Set([...names].map((name) => name.split(' ')[0]));

interface Block {
  readonly language: string;
  readonly line: number;
  readonly text: string;
  /** Whether only empty lines are between it and the block before it. */
  readonly isNext: boolean;
}

/** All commands of a document in Markdown, in its order. */
export function examplesOf(document: string, markdown: string): Example[] {
  const { blocks, prose } = split(markdown);
  const examples = blocks.flatMap(({ language, line, text }, index): [number, Example][] => {
    if (language !== 'sh' && language !== 'ts' && language !== 'python') return [];
    const place = `${document}:${line}`;
    const commands =
      language === 'sh' ? commandsOf(document, line, text) : [{ text: `${text}\n`, place }];
    const next = blocks[index + 1];
    const answer = next?.language === 'json' && next.isNext ? { answer: next.text } : {};
    return [[line, { document, place, language, commands, ...answer }]];
  });
  for (const { line, text } of spans(prose)) {
    const command = asCommand(text);
    if (command === undefined) continue;
    const place = `${document}:${line}`;
    const commands = [{ text: command, place }];
    examples.push([line, { document, place, language: 'sh', commands }]);
  }
  return examples.sort(([a], [b]) => a - b).map(([, example]) => example);
}

/** The blocks of code, and the text with empty lines in their place. */
function split(markdown: string): { blocks: Block[]; prose: string } {
  const blocks: Block[] = [];
  const prose: string[] = [];
  let open: { language: string; line: number; lines: string[]; isNext: boolean } | undefined;
  let isNext = false;
  for (const [index, line] of markdown.split('\n').entries()) {
    const fence = /^\s*```(.*)$/.exec(line);
    if (fence === null) {
      if (open === undefined && line.trim() !== '') isNext = false;
      open?.lines.push(line);
    } else if (open === undefined) {
      open = { language: (fence[1] ?? '').trim(), line: index + 2, lines: [], isNext };
    } else {
      blocks.push({ ...open, text: open.lines.join('\n') });
      open = undefined;
      isNext = true;
    }
    prose.push(open === undefined && fence === null ? line : '');
  }
  return { blocks, prose: prose.join('\n') };
}

/** The commands of a block of shell, each with its continuation lines. */
function commandsOf(document: string, firstLine: number, block: string): Command[] {
  const commands: Command[] = [];
  let lines: string[] = [];
  for (const [index, line] of block.split('\n').entries()) {
    if (lines.length === 0 && (line.trim() === '' || line.startsWith('#'))) continue;
    lines.push(line);
    if (!isWhole(lines)) continue;
    const place = `${document}:${firstLine + index + 1 - lines.length}`;
    commands.push({ text: lines.join('\n'), place });
    lines = [];
  }
  if (lines.length > 0) throw new Error(`${document}:${firstLine}: ${lines.join('\n')} has no end`);
  return commands;
}

function isWhole(lines: readonly string[]): boolean {
  const last = lines.at(-1) ?? '';
  if (/(\\|\||&&)\s*$/.test(last)) return false;
  const text = lines.join('\n');
  const [, end] = /<<-?\s*['"]?(\w+)/.exec(text) ?? [];
  if (end !== undefined && last.trim() !== end) return false;
  return (
    spawnSync('sh', ['-n'], { input: `${text}\n`, stdio: ['pipe', 'ignore', 'ignore'] }).status ===
    0
  );
}

function spans(prose: string): { line: number; text: string }[] {
  return [...prose.matchAll(/(?<!`)`([^`]+)`(?!`)/g)].map(({ index, 1: text = '' }) => ({
    line: prose.slice(0, index).split('\n').length,
    text: text.replaceAll('\\|', '|').replaceAll(/\s*\n\s*/g, ' '),
  }));
}

/** The command of an inline span; undefined if it is none, or only the name of one. */
function asCommand(span: string): string | undefined {
  const [word = '', ...more] = span.split(' ');
  if (more.length === 0 || names.has(span)) return undefined;
  if (programs.has(word)) return span;
  if (firstWords.has(word)) return `npx device-pipeline ${span}`;
  // An unknown program, but with options or as part of a pipe.
  return /^[a-z][\w.-]* (.* )?(--?[a-z]\S* \S|\||&&)/.test(span) ? span : undefined;
}
