import { randomUUID } from 'node:crypto';
import type { DatabaseSync } from 'node:sqlite';

import {
  isKnown,
  isOfManyDays,
  isSummed,
  wholeAnswer,
  type KnownVersions,
  type StatsRequest,
} from '../../../pipeline/stats/stats.ts';
import { StatsWriter } from '../../../pipeline/stats/text.ts';
import { readCounters, readGroups } from '../store/counter-rows.ts';
import type { FromReader } from '../writer/messages.ts';
import { AdmissionQueue } from './admission-queue.ts';
import { RoundRobin } from './round-robin.ts';

/** Responses above this size are streamed. */
const wholeBytesMax = 2 * 1024 * 1024;
/** The limit while no further response can be streamed, so that less is read in vain. */
const wholeBytesMaxOfBusy = 256 * 1024;
/** Maximum bytes of a response that are sent and not consumed. */
const windowBytes = 1024 * 1024;
/**
 * Limits of streamed responses, each of which holds a connection, a state of the counters, and its
 * beginning in memory, as long as the client reads or waits. Whole responses are not limited.
 */
const admissionLimits = { runningMax: 8, waitingMax: 16, waitMsMax: 10_000 };
/** Interval of the journal check. */
const journalCheckMs = 1_000;
/** Maximum number of idle connections kept for later queries. */
const idleConnectionsMax = 2;
/** Maximum number of requests whose versions are cached. */
const cachedVersionsMax = 64;

type Piece = Uint8Array<ArrayBuffer>;

export interface StatsReaderRequest {
  readonly request: StatsRequest;
  readonly known: KnownVersions;
}

interface OpenAnswer {
  readonly id: number;
  readonly database: DatabaseSync;
  readonly pieces: Generator<Piece>;
  /** The number of bytes sent and not consumed. */
  bytes: number;
  isScheduled: boolean;
}

interface StatsResponderOptions {
  readonly connect: () => DatabaseSync;
  /** A number that changes whenever the counters may have changed. */
  readonly dataVersion: () => number;
  /** Whether the journal has grown too large, because open responses hold earlier states. */
  readonly isJournalTooLarge: () => boolean;
  readonly send: (message: FromReader, transfer?: ArrayBuffer[]) => void;
  readonly onError: (id: number, error: unknown) => void;
}

/**
 * Answers queries of the counters concurrently: small responses are sent whole, large ones are
 * streamed, each as fast as it is consumed. Each has a connection of its own and reads one state of
 * the counters, so that a slow response does not affect others.
 */
export class StatsResponder {
  readonly #options: StatsResponderOptions;
  readonly #roundRobin = new RoundRobin();
  readonly #admission = new AdmissionQueue(admissionLimits);
  /** Responses that are streamed or wait to be. */
  readonly #openAnswers = new Map<number, OpenAnswer>();
  readonly #idleConnections: DatabaseSync[] = [];
  #journalCheck: NodeJS.Timeout | undefined;
  /** Versions by request; the least recently used is first. */
  readonly #versions = new Map<string, { readonly state: number; readonly version: string }>();
  /** A part of each version, because every process numbers states from 0. */
  readonly #process = randomUUID();

  constructor(options: StatsResponderOptions) {
    this.#options = options;
  }

  /** @throws if the counters cannot be read. */
  stats(id: number, { request, known }: StatsReaderRequest): void {
    const version = this.#cachedVersion(JSON.stringify(request), this.#options.dataVersion());
    if (version !== undefined && isKnown(known, version)) {
      this.#options.send({ kind: 'unchanged', id, version });
      return;
    }
    const lane = isOfManyDays(request) ? 'many days' : 'few days';
    this.#roundRobin.add(id, lane, this.#answer(id, request, known));
  }

  /** Reads a response, or its beginning, in time slices, and sends it. */
  *#answer(id: number, request: StatsRequest, known: KnownVersions): Generator<undefined> {
    const { send, dataVersion, onError } = this.#options;
    let feed: OpenAnswer | undefined;
    try {
      const key = JSON.stringify(request);
      // Read before the rows: if something is counted in between, the state's number differs below.
      const state = dataVersion();
      feed = this.#open(id, request);
      const gathered = yield* this.#gather(feed);
      if (gathered.isWhole) {
        const answer = wholeAnswer(gathered.bytes, known);
        if (answer.version !== undefined) this.#cacheVersion(key, state, answer.version);
        send({ id, ...answer }, answer.kind === 'whole' ? [answer.bytes.buffer] : []);
        return;
      }
      // Reading the first row fixed the state. Responses from different states must not share a
      // version.
      const isOfState = gathered.stateThen === state;
      const version = isOfState ? `${this.#process}.${state}.${layoutOf(request)}` : undefined;
      if (version !== undefined) this.#cacheVersion(key, state, version);
      if (isKnown(known, version)) {
        send({ kind: 'unchanged', id, version });
        return;
      }
      const streamed = feed;
      feed = undefined;
      this.#stream(streamed, version, gathered.bytes);
    } catch (error) {
      onError(id, error);
    } finally {
      if (feed !== undefined) this.#release(feed);
    }
  }

  /** Streams a response as soon as the limits allow it. */
  #stream(feed: OpenAnswer, version: string | undefined, bytes: Uint8Array<ArrayBuffer>): void {
    const { id } = feed;
    if (this.#options.isJournalTooLarge()) {
      this.#release(feed);
      this.#options.send({ kind: 'busy', id });
      return;
    }
    this.#track(feed);
    this.#admission.enter({
      id,
      start: () => {
        this.#options.send({ kind: 'stream', id, version });
        this.#send(feed, bytes);
      },
      refuse: () => this.#refuse(feed),
    });
  }

  /** Called when the client has consumed this many bytes, so that more can be sent. */
  consumed(id: number, bytes: number): void {
    const feed = this.#openAnswers.get(id);
    if (feed === undefined) return;
    feed.bytes -= bytes;
    this.#schedule(feed);
  }

  /** Called when the client does not need the response, or the rest of it. */
  cancel(id: number): void {
    this.#roundRobin.remove(id);
    const feed = this.#openAnswers.get(id);
    if (feed !== undefined) this.#finish(feed);
  }

  close(): void {
    clearInterval(this.#journalCheck);
    this.#roundRobin.close();
    this.#admission.close();
    for (const feed of this.#openAnswers.values()) this.#release(feed);
    for (const database of this.#idleConnections.splice(0)) database.close();
  }

  #open(id: number, request: StatsRequest): OpenAnswer {
    const database = this.#idleConnections.pop() ?? this.#options.connect();
    const pieces = piecesOf(database, request);
    return { id, database, pieces, bytes: 0, isScheduled: false };
  }

  #track(feed: OpenAnswer): void {
    this.#openAnswers.set(feed.id, feed);
    // A slow consumer must not make the journal grow without limit.
    this.#journalCheck ??= setInterval(() => {
      if (!this.#options.isJournalTooLarge()) return;
      this.#admission.refuseWaiting();
      for (const held of [...this.#openAnswers.values()]) this.#refuse(held);
    }, journalCheckMs);
  }

  #refuse(feed: OpenAnswer): void {
    this.#finish(feed);
    this.#options.send({ kind: 'busy', id: feed.id });
  }

  /** Collects a response, or its beginning if it is large. */
  *#gather(feed: OpenAnswer) {
    const pieces: Uint8Array[] = [];
    let stateThen: number | undefined;
    let length = 0;
    while (length <= (this.#admission.hasRoom ? wholeBytesMax : wholeBytesMaxOfBusy)) {
      const { value, done } = feed.pieces.next() as IteratorResult<Piece, undefined>;
      stateThen ??= this.#options.dataVersion();
      if (done === true) return { isWhole: true, bytes: joined(pieces), stateThen };
      pieces.push(value);
      length += value.length;
      yield;
    }
    return { isWhole: false, bytes: joined(pieces), stateThen };
  }

  /** Sends one piece per iteration of the event loop, so that other queries run in between. */
  #schedule(feed: OpenAnswer): void {
    if (feed.isScheduled || feed.bytes >= windowBytes) return;
    feed.isScheduled = true;
    setImmediate(() => {
      feed.isScheduled = false;
      if (this.#openAnswers.get(feed.id) !== feed) return;
      try {
        const { value, done } = feed.pieces.next() as IteratorResult<Piece, undefined>;
        if (done !== true) {
          this.#send(feed, value);
          return;
        }
        this.#finish(feed);
        this.#options.send({ kind: 'end', id: feed.id });
      } catch (error) {
        this.#finish(feed);
        this.#options.onError(feed.id, error);
      }
    });
  }

  #send(feed: OpenAnswer, piece: Piece): void {
    // The rows read in this step may have had no match.
    if (piece.length > 0) {
      feed.bytes += piece.length;
      this.#options.send({ kind: 'piece', id: feed.id, bytes: piece }, [piece.buffer]);
    }
    this.#schedule(feed);
  }

  /** Ends a response that is streamed or waits to be. */
  #finish(feed: OpenAnswer): void {
    this.#openAnswers.delete(feed.id);
    if (this.#openAnswers.size === 0) {
      clearInterval(this.#journalCheck);
      this.#journalCheck = undefined;
    }
    this.#release(feed);
    this.#admission.leave(feed.id);
  }

  /** Ends the read transaction and reuses or closes the connection. */
  #release(feed: OpenAnswer): void {
    feed.pieces.return(undefined);
    if (this.#idleConnections.length < idleConnectionsMax)
      this.#idleConnections.push(feed.database);
    else feed.database.close();
  }

  #cachedVersion(key: string, state: number): string | undefined {
    const found = this.#versions.get(key);
    return found?.state === state ? found.version : undefined;
  }

  #cacheVersion(key: string, state: number, version: string): void {
    this.#versions.delete(key);
    this.#versions.set(key, { state, version });
    if (this.#versions.size <= cachedVersionsMax) return;
    const [oldest] = this.#versions.keys();
    if (oldest !== undefined) this.#versions.delete(oldest);
  }
}

/** Names the form of the text: a version depends on it and on the rows. */
function layoutOf({ format, hasByteOrderMark = false }: StatsRequest): string {
  return hasByteOrderMark ? `${format}-bom` : format;
}

function* piecesOf(database: DatabaseSync, request: StatsRequest): Generator<Piece> {
  const { query, groupBy, format, hasByteOrderMark } = request;
  const found =
    groupBy !== undefined && isSummed(request)
      ? readGroups(database, query, groupBy)
      : readCounters(database, query);
  const writer = new StatsWriter(groupBy, format, hasByteOrderMark);
  const encoder = new TextEncoder();
  let text = writer.opening();
  for (const rows of found) {
    yield encoder.encode(text + writer.piece(rows));
    text = '';
  }
  yield encoder.encode(text + writer.closing());
}

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(pieces.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const piece of pieces) {
    bytes.set(piece, at);
    at += piece.length;
  }
  return bytes;
}
