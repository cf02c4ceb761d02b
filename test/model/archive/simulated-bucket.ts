import type {
  ObjectStore,
  StoredObject,
} from '../../../src/engines/embedded/archive/stores/object-store.ts';
import type { Chance } from '../chance.ts';
import type { SimulatedProcess, SimulatedTime } from './simulated-time.ts';

/** A request that the simulated store has not served, or whose reply it has lost. */
export class RequestFailed extends Error {
  override readonly name = 'RequestFailed';
}

/** How a store behaves at present. */
export interface Weather {
  /** One request in this number has a fault; 0: none. Only those of `troubled`, if it is a process. */
  faultsOneIn: number;
  troubled: SimulatedProcess | undefined;
  /** Milliseconds that a request takes at most. */
  latencyMsMax: number;
  /** Milliseconds by which listings are late at most. */
  listingLateMsMax: number;
  /** Until this time no request is served, or only those of the others if `cutOff` is a process. */
  outageUntil: number;
  cutOff: SimulatedProcess | undefined;
}

export const fineWeather: Weather = {
  faultsOneIn: 0,
  troubled: undefined,
  latencyMsMax: 40,
  listingLateMsMax: 0,
  outageUntil: 0,
  cutOff: undefined,
};

interface StoredBytes {
  readonly bytes: Uint8Array;
  /** From when on listings show it. */
  readonly listedAt: number;
}

interface Request {
  readonly process: SimulatedProcess;
  readonly kind: 'create' | 'get' | 'list' | 'remove';
  readonly name: string;
  readonly bytes: Uint8Array;
  readonly act: () => unknown;
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: Error) => void;
}

/** The simulated outcome of a request. It may take effect long after its process has given it up. */
interface Outcome {
  readonly effectMs: number | undefined;
  readonly replyMs: number;
  readonly isAnswered: boolean;
}

/** Something that has changed the objects. */
export interface Effect {
  readonly process: SimulatedProcess;
  readonly kind: 'create' | 'remove';
  readonly name: string;
  readonly bytes: Uint8Array;
}

/**
 * An object store in memory. Gets and creations are consistent; listings show creations and removals
 * late. Requests fail before or after their effect, take long, and have an effect after their end.
 */
export class SimulatedBucket {
  readonly url = 's3://simulated';
  weather: Weather = { ...fineWeather };
  /** Called before an effect. */
  onEffect: (effect: Effect) => void = () => undefined;
  requests = 0;
  faults = 0;
  readonly #time: SimulatedTime;
  readonly #chance: Chance;
  readonly #objects = new Map<string, StoredBytes>();
  /** Removed objects, and until when listings show them. */
  readonly #removed = new Map<string, { readonly bytes: number; readonly until: number }>();
  #arrived: Request[] = [];
  readonly #underWay = new Set<Request>();
  /** When the last fault of a process is over. */
  readonly #troubleUntil = new Map<SimulatedProcess, number>();

  constructor(time: SimulatedTime, chance: Chance) {
    this.#time = time;
    this.#chance = chance;
  }

  get objects(): ReadonlyMap<string, { readonly bytes: Uint8Array }> {
    return this.#objects;
  }

  /** The objects that every listing shows. */
  isListed(name: string): boolean {
    return (this.#objects.get(name)?.listedAt ?? Number.POSITIVE_INFINITY) <= this.#time.now;
  }

  troubleUntil(process: SimulatedProcess): number {
    return this.#troubleUntil.get(process) ?? 0;
  }

  /** Bytes of the objects of a process whose creation it waits for. */
  creationsUnderWay(process: SimulatedProcess): Uint8Array[] {
    return [...this.#underWay]
      .filter((one) => one.process === process && one.kind === 'create')
      .map(({ bytes }) => bytes);
  }

  /** A copy without faults that tests may damage. */
  copy(): Map<string, Uint8Array> {
    return new Map([...this.#objects].map(([name, { bytes }]) => [name, bytes]));
  }

  client(process: SimulatedProcess): ObjectStore {
    const send = <T>(kind: Request['kind'], name: string, bytes: Uint8Array, act: () => T) =>
      new Promise<T>((resolve, reject) => {
        const given = resolve as (result: unknown) => void;
        this.#arrived.push({ process, kind, name, bytes, act, resolve: given, reject });
      });
    const none = new Uint8Array();
    const list = (prefix: string) => this.#list(prefix);
    return {
      url: this.url,
      create: (name, bytes) => {
        const own = Uint8Array.from(bytes);
        return send('create', name, own, () => this.#create(process, name, own));
      },
      get: (name) => send('get', name, none, () => this.#objects.get(name)?.bytes),
      async *list(prefix) {
        yield* await send('list', prefix, none, () => list(prefix));
      },
      remove: (name) => send('remove', name, none, () => this.#remove(process, name)),
      close: () => undefined,
    };
  }

  /** Decides what happens to the requests that were sent since the last call. */
  serve(): void {
    const arrived = this.#arrived.sort((a, b) => compare(orderOf(a), orderOf(b)));
    this.#arrived = [];
    for (const request of arrived) this.#serve(request, this.#outcomeOf(request.process));
  }

  #serve(request: Request, { effectMs, replyMs, isAnswered }: Outcome): void {
    const { process, kind } = request;
    this.requests++;
    this.#underWay.add(request);
    let result: unknown;
    if (!isAnswered) this.faults++;
    const isTrouble = !isAnswered || replyMs > 1_000;
    if (isTrouble) this.#noteTrouble(process, this.#time.now + Math.max(replyMs, effectMs ?? 0));
    if (effectMs !== undefined) this.#time.after(effectMs, () => (result = request.act()));
    this.#time.after(replyMs, () => {
      this.#underWay.delete(request);
      process.deliver(() => {
        if (isAnswered) request.resolve(result);
        else request.reject(new RequestFailed(`${kind} was not answered`));
      });
    });
  }

  #noteTrouble(process: SimulatedProcess, until: number): void {
    this.#troubleUntil.set(process, Math.max(until, this.troubleUntil(process)));
  }

  #outcomeOf(process: SimulatedProcess): Outcome {
    const { weather } = this;
    const chance = this.#chance;
    const latencyMs = 1 + chance.below(weather.latencyMsMax);
    const isAway = this.#time.now < weather.outageUntil && (weather.cutOff ?? process) === process;
    if (isAway) return this.#unansweredOutcome(chance.oneIn(10));
    const isTroubled = weather.faultsOneIn > 0 && (weather.troubled ?? process) === process;
    if (!isTroubled || !chance.oneIn(weather.faultsOneIn)) {
      return { effectMs: chance.below(latencyMs), replyMs: latencyMs, isAnswered: true };
    }
    if (chance.oneIn(4)) {
      const effectMs = chance.below(20_000);
      return { effectMs, replyMs: effectMs + latencyMs, isAnswered: true };
    }
    return this.#unansweredOutcome(chance.oneIn(2));
  }

  /** A refusal, a lost reply, or a request that takes effect after its time is over. */
  #unansweredOutcome(hasEffect: boolean): Outcome {
    const chance = this.#chance;
    const replyMs = chance.pick([5, 100, 3_000, 30_000]);
    const effectMs = hasEffect ? chance.pick([1, replyMs, chance.below(150_000)]) : undefined;
    return { effectMs, replyMs, isAnswered: false };
  }

  #create(process: SimulatedProcess, name: string, bytes: Uint8Array): 'created' | 'exists' {
    if (this.#objects.has(name)) return 'exists';
    this.onEffect({ process, kind: 'create', name, bytes });
    this.#objects.set(name, { bytes, listedAt: this.#time.now + this.#listingLateMs() });
    return 'created';
  }

  #remove(process: SimulatedProcess, name: string): void {
    const bytes = this.#objects.get(name)?.bytes;
    if (bytes === undefined) return;
    this.onEffect({ process, kind: 'remove', name, bytes });
    if (this.isListed(name)) {
      const until = this.#time.now + this.#listingLateMs();
      this.#removed.set(name, { bytes: bytes.length, until });
    }
    this.#objects.delete(name);
  }

  #listingLateMs(): number {
    const { listingLateMsMax } = this.weather;
    return listingLateMsMax === 0 ? 0 : this.#chance.below(listingLateMsMax);
  }

  #list(prefix: string): StoredObject[] {
    const found = new Map<string, number>();
    for (const [name, { bytes, until }] of this.#removed) {
      if (until > this.#time.now) found.set(name, bytes);
    }
    for (const [name, { bytes }] of this.#objects) {
      if (this.isListed(name)) found.set(name, bytes.length);
    }
    return [...found]
      .filter(([name]) => name.startsWith(prefix))
      .map(([name, bytes]) => ({ name, bytes }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));
  }
}

/** An order that does not depend on threads, nor on random names. */
function orderOf({ process, kind, name }: Request): string {
  return `${process.name} ${kind} ${name.replace(/^[0-9a-f]{32}|^probe.*/, '')}`;
}

function compare(one: string, other: string): number {
  if (one === other) return 0;
  return one < other ? -1 : 1;
}
