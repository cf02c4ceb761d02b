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
  /** Whether data may still arrive while it is read, as from a pipe. */
  readonly isLive: boolean;
  /** The size; undefined if unknown. */
  readonly bytes: number | undefined;
  /** Opens it at its first byte. */
  open(): Readable;
  close(): Promise<void>;
}

const chunkBytes = 256 * 1024;

/** How long to wait at the end of a pipe for a signal that arrives together with it. */
const settleMs = 100;

/** @throws an Error that names the file that cannot be read. */
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
  if (stats.isDirectory()) throw new Error(`${name} is a directory; give the files in it`);
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
 * The bytes of an input. Ctrl-C also ends the program at the other end of a pipe: the bytes until then
 * must not be taken as the complete input, because with --key that would give other requests.
 * @throws AbortError once `stopping` is aborted.
 */
export async function* readInput(
  input: Pick<Input, 'open' | 'isLive'>,
  stopping: AbortSignal,
): AsyncGenerator<Buffer, void> {
  for await (const chunk of addAbortSignal(stopping, input.open()) as AsyncIterable<Buffer>) {
    yield chunk;
    // Yield to the event loop: a full pipe would delay signals by two megabytes.
    if (input.isLive) await setImmediate();
  }
  if (input.isLive) await delay(settleMs, undefined, { signal: stopping });
}

/** Returns an input that can be opened again; a pipe is copied to a temporary file. */
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

/** Copies the input to an unlinked file, which disappears with the process however that ends. */
async function copyOf(input: Input, stopping: AbortSignal): Promise<FileHandle> {
  const path = join(tmpdir(), `device-pipeline-${randomUUID()}`);
  let copy: FileHandle | undefined;
  try {
    copy = await open(path, 'wx+', 0o600);
    await unlink(path);
    for await (const chunk of readInput(input, stopping)) await copy.writeFile(chunk);
    return copy;
  } catch (error) {
    await copy?.close();
    if (stopping.aborted) throw error;
    const reason = error instanceof Error ? error.message : String(error);
    throw new Error(`cannot write a copy of the input to ${tmpdir()} (TMPDIR): ${reason}`, {
      cause: error,
    });
  }
}
