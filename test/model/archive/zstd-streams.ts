import { syncBuiltinESMExports } from 'node:module';
import zlib from 'node:zlib';

/*
 * The code under test compresses and reads merged objects by streams, which work on threads of their
 * own. Simulated time must stand still meanwhile, or a seed would not determine what happens. So this
 * module counts the streams that are open; it changes nothing else about them.
 */
let open = 0;

/** The number of compressing and decompressing streams that have not ended. */
export function openZstdStreams(): number {
  return open;
}

type StreamMaker = 'createZstdCompress' | 'createZstdDecompress';

function count(name: StreamMaker): void {
  const make = zlib[name];
  Object.defineProperty(zlib, name, {
    value: (...options: Parameters<typeof make>) => {
      const stream = make(...options);
      open++;
      stream.once('close', () => open--);
      return stream;
    },
  });
}

count('createZstdCompress');
count('createZstdDecompress');
syncBuiltinESMExports();
