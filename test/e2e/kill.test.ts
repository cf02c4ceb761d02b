import { setTimeout as delay } from 'node:timers/promises';

import { describe, expect, it } from 'vitest';

import {
  holdDatabase,
  judge,
  newBatch,
  newClient,
  readStats,
  recountLog,
  seededRandom,
  ServerProcess,
  startServer,
  temporaryDirectory,
  waitCounted,
  type Client,
  type TestBatch,
} from '../support/server-process.ts';

/** 30 hit a server that is starting, 50 one under the load of all clients. */
const kills = 80;
/** The first of them hit a data directory that is just being made. */
const killsOfFirstStart = 5;
const clients = 8;
/** Another seed gives other batches and other moments. */
const seed = Number(process.env['KILL_SEED'] ?? 1);

interface Sent {
  readonly batch: TestBatch;
  /** `/ingest/<batch id>`, once it is acknowledged. */
  location?: string;
}

/** What all clients share: the server's address, as a promise for when it is down. */
class Traffic {
  readonly sent: Sent[] = [];
  #address = Promise.withResolvers<string>();
  #isOver = false;
  #onAnswered: ((client: number) => void) | undefined;

  up(url: string): void {
    this.#address.resolve(url);
  }

  down(): void {
    this.#address = Promise.withResolvers<string>();
  }

  /** Resolves when each of the clients with keys has had an answer from now on. */
  keyedAnswers(): Promise<void> {
    const missing = new Set(Array.from({ length: clients }, (_, id) => id).filter(hasKeys));
    return new Promise((resolve) => {
      this.#onAnswered = (client) => {
        missing.delete(client);
        if (missing.size === 0) resolve();
      };
    });
  }

  /** Lets every client end with the batch it is at. */
  end(): void {
    this.#isOver = true;
  }

  /** One client: batch after batch, each with a state of its own, 1 to 20 items. */
  async run(id: number, client: Client): Promise<void> {
    const random = seededRandom(seed * 1000 + id);
    for (let number = 0; !this.#isOver; number++) {
      const name = `client ${id} batch ${number}`;
      const items = 1 + Math.floor(random() * 20);
      const key = hasKeys(id) ? name.replaceAll(' ', '-') : undefined;
      const sent: Sent = { batch: newBatch(name, items, random, key) };
      this.sent.push(sent);
      // Without a key nothing is sent twice.
      while (!(await this.#post(id, client, sent)) && hasKeys(id));
    }
  }

  async #post(id: number, client: Client, sent: Sent): Promise<boolean> {
    const answer = await client.post(await this.#address.promise, sent.batch);
    if (answer?.status !== 200) return false;
    sent.location = answer.headers.location ?? '';
    this.#onAnswered?.(id);
    return true;
  }
}

/** Every second client uses keys and tries again until it is answered. */
function hasKeys(client: number): boolean {
  return client % 2 === 0;
}

describe('a server that is killed again and again', () => {
  it(`counts what it acknowledged once, the rest whole or not at all (seed ${seed})`, async () => {
    const dataDir = temporaryDirectory();
    const traffic = new Traffic();
    const client = newClient(clients);
    const running = Array.from({ length: clients }, (_, id) => traffic.run(id, client));
    await killMany(dataDir, traffic);

    const { url } = await startServer(dataDir);
    traffic.up(url);
    await traffic.keyedAnswers();
    traffic.end();
    await Promise.all(running);
    await waitCounted(client, url);

    const { sent } = traffic;
    const acknowledged = sent.filter(({ location }) => location !== undefined);
    const unanswered = sent.filter(({ location }) => location === undefined);
    // Else nothing was put to the test.
    expect(acknowledged.length).toBeGreaterThan(10 * kills);
    expect(unanswered.length).toBeGreaterThan(kills / 2);

    const counted = await readStats(client, url);
    const verdict = judge(counted);
    expect(wrong(acknowledged, (each) => verdict(each.batch) === 'once')).toEqual([]);
    expect(wrong(unanswered, (each) => /^once$|^none$/.test(verdict(each.batch)))).toEqual([]);
    expect(unanswered.filter(({ batch }) => batch.key !== undefined)).toEqual([]);
    expect(recountLog(dataDir)).toEqual(counted);

    const receipts = await inTurns(acknowledged, (each) => receiptOf(client, url, each));
    expect(receipts.filter((receipt) => receipt !== 'as it should be')).toEqual([]);

    const keyed = acknowledged.filter(({ batch }) => batch.key !== undefined).slice(-500);
    const again = await inTurns(keyed, ({ batch }) => client.post(url, batch));
    expect(again.map((answer) => answer?.headers.location)).toEqual(
      keyed.map(({ location }) => location),
    );
    await waitCounted(client, url);
    expect(await readStats(client, url)).toEqual(counted);

    function wrong(all: readonly Sent[], isRight: (each: Sent) => boolean): string[] {
      return all.filter((each) => !isRight(each)).map(({ batch }) => verdict(batch));
    }
  }, 300_000);
});

/**
 * Starts and kills the server at random moments: some within the start, some under load, and
 * some while another connection keeps the counters from being written, until the server that
 * comes next has answered every client that tries again.
 */
async function killMany(dataDir: string, traffic: Traffic): Promise<void> {
  const random = seededRandom(seed);
  const startMs = await measureStart();
  let held: ReturnType<typeof holdDatabase> | undefined;
  for (let kill = 0; kill < kills; kill++) {
    if (kill < killsOfFirstStart || kill % 3 === 0) {
      const server = new ServerProcess(dataDir);
      await delay(random() * startMs);
      server.kill('SIGKILL');
      await server.waitExit();
      continue;
    }
    const { server, url } = await startServer(dataDir);
    const keyedAnswers = traffic.keyedAnswers();
    traffic.up(url);
    if (held !== undefined) {
      await keyedAnswers;
      held.release();
      held = undefined;
    }
    const runMs = 50 + random() * 350;
    const holdMs = kill % 5 === 0 ? random() * runMs : runMs;
    await delay(holdMs);
    if (holdMs < runMs) held = holdDatabase(dataDir);
    await delay(runMs - holdMs);
    traffic.down();
    server.kill('SIGKILL');
    await server.waitExit();
  }
  held?.release();
}

/** How long a start takes on this machine now: the kills within it are spread over that. */
async function measureStart(): Promise<number> {
  const startedAt = performance.now();
  const { server } = await startServer(temporaryDirectory());
  server.kill('SIGKILL');
  await server.waitExit();
  return performance.now() - startedAt;
}

async function receiptOf(client: Client, url: string, { batch, location }: Sent): Promise<string> {
  const answer = await client.get(`${url}${location ?? ''}`);
  if (answer?.status !== 200) return `${batch.state}: ${answer?.text ?? 'no answer'}`;
  const { status, counted, enqueued } = JSON.parse(answer.text) as Record<string, unknown>;
  const isRight = status === 'counted' && counted === batch.items && enqueued === batch.items;
  return isRight ? 'as it should be' : `${batch.state}: ${answer.text}`;
}

/** The results in order, `clients` at a time. */
async function inTurns<In, Out>(all: readonly In[], act: (each: In) => Promise<Out>) {
  const results: Out[] = [];
  const queue = all.entries();
  const worker = async () => {
    for (const [index, each] of queue) results[index] = await act(each);
  };
  await Promise.all(Array.from({ length: clients }, worker));
  return results;
}
