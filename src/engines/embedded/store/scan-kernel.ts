import { readFileSync } from 'node:fs';

/**
 * The compiled inner loop of the scanner, as `npm run build:kernel` has built it. Undefined if it is not
 * built, or the processor has no SIMD that WebAssembly could use; the scanner then uses TypeScript.
 */
export function scanKernel(): WebAssembly.Module | undefined {
  kernel ??= { module: compile() };
  return kernel.module;
}

let kernel: { readonly module: WebAssembly.Module | undefined } | undefined;

function compile(): WebAssembly.Module | undefined {
  const isBuilt = import.meta.url.endsWith('.js');
  const path = isBuilt ? '../kernel/item-kernel.wasm' : '../../../../dist/kernel/item-kernel.wasm';
  try {
    return new WebAssembly.Module(readFileSync(new URL(path, import.meta.url)));
  } catch (error) {
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
    if (isMissing || error instanceof WebAssembly.CompileError) return undefined;
    throw error;
  }
}
