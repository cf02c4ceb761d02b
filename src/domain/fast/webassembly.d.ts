/** The part of the WebAssembly API that the scanner uses: neither `esnext` nor Node's types declare it. */
declare namespace WebAssembly {
  class Memory {
    constructor(options: { initial: number; maximum: number; shared: true });
    readonly buffer: SharedArrayBuffer;
  }
  class Instance {
    constructor(module: Module, imports: Record<string, Record<string, unknown>>);
    readonly exports: Record<string, unknown>;
  }
  type Module = object;
  const Module: new (bytes: Uint8Array) => Module;
  class CompileError extends Error {}
}
