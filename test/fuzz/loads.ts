import { connect } from 'node:net';
import { setTimeout as delay } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';

import { batchBody, post } from './requests.ts';
import { SlowClients } from './slow.ts';
import { AnswerReader } from './steady-client.ts';

/** Of requests of one sound item, one after the other on one connection. Milliseconds. */
export interface Latency {
  readonly requests: number;
  readonly p50: number;
  readonly p99: number;
  readonly worst: number;
}

/** How a sound client fares for some seconds, whatever others do meanwhile. */
export async function latency(port: number, seconds: number): Promise<Latency> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const answers = new AnswerReader(socket);
  const times: number[] = [];
  const request = post(batchBody('measured', 1));
  for (const end = performance.now() + seconds * 1000; performance.now() < end;) {
    const sentAt = performance.now();
    socket.write(request);
    const { status } = await answers.next();
    if (status !== 200) throw new Error(`a sound batch is answered ${status}`);
    times.push(performance.now() - sentAt);
    await delay(2);
  }
  socket.destroy();
  times.sort((a, b) => a - b);
  const at = (share: number) => times[Math.floor(share * (times.length - 1))] ?? NaN;
  return { requests: times.length, p50: at(0.5), p99: at(0.99), worst: at(1) };
}

/** How a sound client fares while another sends bodies that cost much. */
export async function besideCostly(
  port: number,
  body: Buffer,
  lines: readonly string[],
  seconds: number,
): Promise<Latency & { readonly costly: number }> {
  const over = new AbortController();
  const isOver = () => over.signal.aborted;
  let costly = 0;
  const request = post(body, lines);
  // As many at once as a malicious client would send, or two if that is much.
  const atOnce = Math.min(100, Math.max(2, Math.floor(500_000 / request.length)));
  const send = async () => {
    const socket = connect({ port, host: '127.0.0.1', noDelay: true });
    const answers = new AnswerReader(socket);
    while (!isOver()) {
      socket.write(Buffer.concat(Array<Buffer>(atOnce).fill(request)));
      for (let times = 0; times < atOnce && !isOver(); times++) {
        await answers.next();
        costly++;
      }
    }
    socket.destroy();
  };
  const sending = send();
  const measured = await latency(port, seconds);
  over.abort();
  await sending;
  return { ...measured, costly };
}

const mebibyte = 1024 * 1024;
const gzip = ['Content-Encoding: gzip'];
const item = '{"type":"a","state":"costly","timestamp":"2026-03-01T12:00:00Z"}';
const many = (length: number) => `{"processed_devices":[${Array(length).fill(item).join()}]}`;

/** The most expensive bodies for their size, by their kind. */
export const costlyBodies: Readonly<Record<string, readonly [Buffer, readonly string[]]>> = {
  'gzip, 64 MiB of white space': [gzipSync(Buffer.alloc(64 * mebibyte, ' ')), gzip],
  'gzip, 4 MiB of white space': [gzipSync(Buffer.alloc(4 * mebibyte, ' ')), gzip],
  'gzip, 4 MiB of empty items': [
    gzipSync(`{"processed_devices":[${'{},'.repeat(mebibyte + 300_000)}{}]}`),
    gzip,
  ],
  'gzip, 4 MiB of sound items': [gzipSync(many(60_000)), gzip],
  'plain, 4 MiB of sound items': [Buffer.from(many(60_000)), []],
  'plain, 4 MiB of empty items': [
    Buffer.from(`{"processed_devices":[${'{},'.repeat(mebibyte + 300_000)}{}]}`),
    [],
  ],
};

/** What a server does with slow clients, and with others meanwhile. */
export async function besideSlow(port: number, each: number, idle: number) {
  const slow = new SlowClients();
  const before = await latency(port, 3);
  const opening = performance.now();
  await slow.open(port, each, 'headers', 1000);
  await slow.open(port, each, 'body', 1000);
  await slow.open(port, idle, 'nothing', 1000);
  const openedMs = performance.now() - opening;
  const during = await latency(port, 8);
  const after = await Promise.all([latency(port, 60), waitClosed(slow, 90_000)]);
  const { closed, toldLate } = slow;
  slow.end();
  return { before, during, after: after[0], openedMs, closed, toldLate };
}

async function waitClosed(slow: SlowClients, msMax: number): Promise<void> {
  const end = performance.now() + msMax;
  while (!slow.isAllClosed && performance.now() < end) await delay(100);
}

/** Milliseconds from the request to its response, for torture bodies made longer and longer. */
export async function timeOf(port: number, body: Buffer): Promise<number> {
  const socket = connect({ port, host: '127.0.0.1', noDelay: true });
  const answers = new AnswerReader(socket);
  const sentAt = performance.now();
  socket.write(post(body));
  await answers.next();
  const ms = performance.now() - sentAt;
  socket.destroy();
  return ms;
}

const around = (text: string) => `{"x":${text},"processed_devices":[${item}]}`;
const numbered = (length: number, write: (at: number) => string) =>
  Array.from({ length }, (_, at) => write(at)).join();

/** Bodies of a given number of KiB, of kinds for which some parsers took quadratic time. */
export const growingBodies: Readonly<Record<string, (kib: number) => string>> = {
  'the same member': (kib) => around(`{${numbered(kib * 170, () => '"k":0')}}`),
  'other members': (kib) => around(`{${numbered(kib * 85, (at) => `"k${at}":0`)}}`),
  'members that are numbers': (kib) =>
    around(`{${numbered(kib * 70, (at) => `"${at * 4096}":0`)}}`),
  'members that are large numbers': (kib) =>
    around(`{${numbered(kib * 55, (at) => `"${2 ** 24 * (at + 1)}":0`)}}`),
  escapes: (kib) => around(`"${'\\u0041\\n'.repeat(kib * 128)}"`),
  'a long number': (kib) => around('7'.repeat(kib * 1024)),
  'a long string': (kib) => around(`"${'s'.repeat(kib * 1024)}"`),
  'letters of two bytes': (kib) => around(`"${'\u00e9'.repeat(kib * 512)}"`),
  'open brackets': (kib) => '['.repeat(kib * 1024),
  'open brackets in strings': (kib) => around(`"${'['.repeat(kib * 1024)}"`),
  'items that are none': (kib) => `{"processed_devices":[${numbered(kib * 200, () => 'null')}]}`,
  'items of other names': (kib) =>
    `{"processed_devices":[${numbered(kib * 14, (at) => item.replace('"a"', `"n${at}"`))}]}`,
  'long names that end otherwise': (kib) =>
    `{"processed_devices":[${numbered(kib * 5, (at) => item.replace('"a"', `"${'n'.repeat(110)}${at}"`))}]}`,
};
