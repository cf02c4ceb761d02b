/** The input of a fuzzed connection, and the requirements on its outcome. */
export interface FuzzCase {
  readonly shape: string;
  /** Written one after the other, each in a turn of the event loop of its own. */
  readonly pieces: readonly Buffer[];
  readonly ending: Ending;
  /** Requests that are begun. */
  readonly requests: number;
  /** As many answers there must be, in this order; undefined where the server may close before. */
  readonly expected?: readonly Omit<SoundRequest, 'bytes'>[] | undefined;
  /** Items that may be counted though no response to them is read. */
  readonly abandonedItems: number;
}

/**
 * `half-close`: the client ends its side and reads on; `wait`: it waits for the server, which must close
 * on its own; `reset`: it tears the connection down and reads nothing.
 */
export type Ending = 'half-close' | 'wait' | 'reset';

export type Random = () => number;

/** A request on its own, whole and sound as HTTP. */
export interface SoundRequest {
  readonly bytes: Buffer;
  /** Of its response; undefined where any below 500 will do. */
  readonly status: number | undefined;
  /** Whether it is a retry of an earlier one with its key: it gets a response, and is not counted. */
  readonly isRepeat?: boolean;
}

export function below(random: Random, end: number): number {
  return Math.floor(random() * end);
}

export function pick<T>(random: Random, values: readonly T[]): T {
  return values[below(random, values.length)] as T;
}

export function latin1(text: string): Buffer {
  return Buffer.from(text, 'latin1');
}

/** Mostly whole; otherwise cut anywhere, sometimes byte by byte. */
export function piecesOf(bytes: Buffer, random: Random): Buffer[] {
  const dice = random();
  if (dice < 0.6 || bytes.length < 2) return [bytes];
  if (dice < 0.62 && bytes.length < 600) return Array.from(bytes, (byte) => Buffer.of(byte));
  const cuts = Array.from({ length: pick(random, [1, 2, 5]) }, () => below(random, bytes.length));
  const places = [0, ...cuts.sort((a, b) => a - b), bytes.length];
  return places
    .slice(1)
    .map((end, index) => bytes.subarray(places[index], end))
    .filter((piece) => piece.length > 0);
}
