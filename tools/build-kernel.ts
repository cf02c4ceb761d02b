import { execFile } from 'node:child_process';
import { mkdir, rename, stat } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { promisify } from 'node:util';

/*
 * Compiles the inner loop of the scanner from AssemblyScript to WebAssembly.
 * Usage: npm run build:kernel
 */

const root = join(import.meta.dirname, '..');
const source = join(root, 'src/domain/fast/assembly/item-kernel.ts');
const binary = join(root, 'dist/kernel/item-kernel.wasm');

/** Builds the kernel, unless it is newer than its source. @throws an Error with the compiler's messages. */
export async function buildKernel(): Promise<void> {
  const [from, to] = await Promise.all([source, binary].map(modifiedAt));
  if (from !== undefined && to !== undefined && from < to) return;
  await mkdir(join(binary, '..'), { recursive: true });
  // Another process may be reading or building the same file.
  const draft = `${binary}.${process.pid}`;
  // As a program: the types of its module would declare globals such as `i32` everywhere.
  const compiler = createRequire(import.meta.url).resolve('assemblyscript/bin/asc.js');
  await promisify(execFile)(process.execPath, [
    ...[compiler, source, '--baseDir', '/', '--outFile', draft],
    ...['-O3', '--noAssert', '--runtime', 'stub', '--enable', 'simd', '--enable', 'threads'],
    ...['--importMemory', '--sharedMemory', '--initialMemory', '1', '--maximumMemory', '65536'],
  ]);
  await rename(draft, binary);
}

async function modifiedAt(path: string): Promise<number | undefined> {
  return (await stat(path).catch(() => undefined))?.mtimeMs;
}

if (import.meta.main) await buildKernel();
