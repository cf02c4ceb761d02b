import { randomUUID } from 'node:crypto';
import { constants, createReadStream, fstatSync, type Stats } from 'node:fs';
import { access, open, stat, unlink, type FileHandle } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { addAbortSignal, Readable } from 'node:stream';
import { setImmediate, setTimeout as delay } from 'node:timers/promises';

import { fileErrorText } from '../cli/file-errors.ts';

/** A file or standard input. */
export interface Input {
  /** As given on the command line; `-` is standard input. */
  readonly name: string;
  /** Whether more may come to it while it is read, as to a pipe. */
  readonly isLive: boolean;
  /** Undefined where that is not known. */
  readonly bytes: number | undefined;
  /** From its first byte. */
  open(): Readable;
  close(): Promise<void>;
}

const chunkBytes = 256 * 1024;

/** For a signal that comes together with the end of a pipe. */
const settleMs = 100;

/** @throws an Error that names the file, where one cannot be read. */
export async function openInputs(names: readonly string[]): Promise<Input[]> {
  const inputs: Input[] = [];
  for (const name of names) inputs.push(name === '-' ? standardInput() : await fileInput(name));
  return inputs;
}

async function fileInput(name: string): Promise<Input> {
  let stats: Stats;
  try {
    stats = await stat(name);
    await access(name, constants.R_OK);
  } catch (error) {
    throw new Error(`${name}: ${fileErrorText(error)}`, { cause: error });
  }
  if (stats.isDirectory()) throw new Error(`${name} is a directory; name the files in it`);
  return {
    name,
    isLive: !stats.isFile(),
    bytes: stats.isFile() ? stats.size : undefined,
    open: () => createReadStream(name, { highWaterMark: chunkBytes }),
    close: () => Promise.resolve(),
  };
}

function standardInput(): Input {
  return {
    name: '-',
    isLive: !fstatSync(0).isFile(),
    bytes: undefined,
    open: () => process.stdin,
    close: () => Promise.resolve(),
  };
}

/**
 * The bytes of an input. Ctrl-C ends the program at the other end of a pipe, too: what came until then
 * must not be taken for all of it, which under a key would make other requests.
 * @throws AbortError once `stopping` is aborted.
 */
export async function* readInput(
  input: Pick<Input, 'open' | 'isLive'>,
  stopping: AbortSignal,
): AsyncGenerator<Buffer, void> {
  for await (const chunk of addAbortSignal(stopping, input.open()) as AsyncIterable<Buffer>) {
    yield chunk;
    // A pipe that is always full would keep signals waiting for two megabytes.
    if (input.isLive) await setImmediate();
  }
  if (input.isLive) await delay(settleMs, undefined, { signal: stopping });
}

/** Makes the input one that can be opened again: what is no file is copied to a temporary one. */
export async function rereadable(input: Input, stopping: AbortSignal): Promise<Input> {
  if (!input.isLive && input.name !== '-') return input;
  const copy = await copyOf(input, stopping);
  return {
    name: input.name,
    isLive: false,
    bytes: (await copy.stat()).size,
    open: () => Readable.from(chunksOf(copy)),
    close: () => copy.close(),
  };
}

async function* chunksOf(file: FileHandle): AsyncGenerator<Buffer, void> {
  for (let position = 0; ;) {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(chunkBytes), { position });
    if (bytesRead === 0) return;
    position += bytesRead;
    yield buffer.subarray(0, bytesRead);
  }
}

/** A file without a name, which goes with the process however that ends. */
async function copyOf(input: Input, stopping: AbortSignal): Promise<FileHandle> {
  const path = join(tmpdir(), `device-pipeline-${randomUUID()}`);
  try {
    const copy = await open(path, 'wx+', 0o600);
    await unlink(path);
    for await (const chunk of readInput(input, stopping)) await copy.writeFile(chunk);
    return copy;
  } catch (error) {
    if (stopping.aborted) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`cannot keep a copy of the input in ${tmpdir()} (TMPDIR): ${reason}`, {
      cause: error,
    });
  }
}
