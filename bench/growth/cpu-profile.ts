import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

interface CallFrame {
  readonly functionName: string;
  readonly url: string;
}

/** As V8 writes it. Times are microseconds of the machine's monotonic clock. */
interface CpuProfile {
  readonly startTime: number;
  readonly nodes: readonly { readonly id: number; readonly callFrame: CallFrame }[];
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

export interface ThreadProfile {
  readonly thread: 'main' | 'writer' | 'reader';
  /** The share of the time in which it was not idle and did not wait for the disk or the ring. */
  readonly busy: number;
  /** Shares of that time, by function and by category, the largest first. */
  readonly functions: readonly Share[];
  readonly categories: readonly Share[];
}

export interface Share {
  readonly name: string;
  readonly share: number;
}

/** What a thread does while it waits. On a shared machine, it also waits for the processor. */
const waits = /^\(idle\)|^f\w*sync\w* (node:fs|native)|^wait /i;

/** The first pattern that matches `function file` decides the category. */
const categories: readonly (readonly [category: string, pattern: RegExp])[] = [
  ['garbage collection', /^\(garbage collector\)/],
  ['Node and V8 themselves, HTTP parser', /^\(program\)|^(consume|execute|parserOn\w+) /],
  ['file write', /^(write(Buffer|Sync|Fully)?|#write) (node:fs|native|embedded)/],
  ['socket write', /^(write\w*String|writev|shutdown|\w*[wW]rite\w*) (native|node:net|.*stream)/],
  [
    'threads: post and receive',
    /postMessage|receiveMessage|worker|submission-ring|Atomics|^notify /,
  ],
  ['checksum', /crc32|sha256|Hash/],
  ['SQLite', /sqlite|store\/|^(run|exec|step|prepare) native/i],
  [
    'JSON, scanner, validation',
    /^(parse|decode\w*) native|domain\/|fast\/|^wasm-function|^RegExp|encoding/,
  ],
  [
    'copies',
    /^(copy|set|concat|fill|slice|\w+Slice|\w*write\w*|_copy\w*|toString) |createUnsafeBuffer/,
  ],
  ['log', / log\//],
  ['writing batches', / writer\//],
  ['our HTTP', / (server|app|auth)\//],
  ["Node's sockets, streams and timers", /node:|streams|task_queues/],
];

/** The work of each thread between two times, from the profiles that `--cpu-prof` wrote. */
export function readThreadProfiles(directory: string, fromUs: number, toUs: number) {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.cpuprofile'))
    .sort()
    .map((name) => {
      const text = readFileSync(join(directory, name), 'utf8');
      return readThreadProfile(JSON.parse(text) as CpuProfile, fromUs, toUs);
    });
}

function readThreadProfile(profile: CpuProfile, fromUs: number, toUs: number): ThreadProfile {
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const byFunction = new Map<string, number>();
  const byCategory = new Map<string, number>();
  let at = profile.startTime;
  let [total, busy] = [0, 0];
  profile.samples.forEach((id, index) => {
    // A delta is the time since the previous sample, and so the duration of that sample.
    const took = profile.timeDeltas[index + 1] ?? 0;
    at += profile.timeDeltas[index] ?? 0;
    const frame = frames.get(id);
    if (frame === undefined || at < fromUs || at > toUs) return;
    const name = nameOf(frame);
    total += took;
    if (waits.test(name)) return;
    busy += took;
    add(byFunction, name, took);
    add(byCategory, categoryOf(name), took);
  });
  const [functions, categories] = [sharesOf(byFunction, busy), sharesOf(byCategory, busy)];
  return { thread: threadOf(profile), busy: busy / total, functions, categories };
}

function threadOf({ nodes }: CpuProfile): ThreadProfile['thread'] {
  const has = (file: string) => nodes.some(({ callFrame }) => callFrame.url.includes(file));
  if (has('/writer-worker.')) return 'writer';
  return has('/reader-worker.') ? 'reader' : 'main';
}

function nameOf({ functionName, url }: CallFrame): string {
  if (functionName.startsWith('(')) return functionName;
  const file = url === '' ? 'native' : url.split('/').slice(-2).join('/');
  return `${functionName === '' ? '(anonymous)' : functionName} ${file}`;
}

function categoryOf(name: string): string {
  return categories.find(([, pattern]) => pattern.test(name))?.[0] ?? 'other';
}

function add(sums: Map<string, number>, name: string, amount: number): void {
  sums.set(name, (sums.get(name) ?? 0) + amount);
}

function sharesOf(sums: ReadonlyMap<string, number>, total: number): Share[] {
  return [...sums]
    .map(([name, sum]) => ({ name, share: sum / total }))
    .sort((a, b) => b.share - a.share);
}
