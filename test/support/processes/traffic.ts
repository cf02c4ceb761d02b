import {
  judge,
  newBatch,
  readStats,
  seededRandom,
  waitCounted,
  waitUntil,
  type Client,
  type TestBatch,
} from './real-server.ts';

export const clients = 8;

export interface Sent {
  readonly batch: TestBatch;
  /** `/ingest/<batch id>`, once it is acknowledged. */
  location?: string;
  /** Milliseconds since 1970. */
  answeredAt?: number;
}

/** What all clients share: the server's address, as a promise while the server is down. */
export class Traffic {
  readonly sent: Sent[] = [];
  readonly #seed: number;
  #address = Promise.withResolvers<string>();
  #isOver = false;
  #onAnswered: ((client: number) => void) | undefined;

  constructor(seed: number) {
    this.#seed = seed;
  }

  up(url: string): void {
    this.#address.resolve(url);
  }

  down(): void {
    this.#address = Promise.withResolvers<string>();
  }

  /** Resolves when each of the clients with keys has got a response from now on. */
  keyedAnswers(): Promise<void> {
    const missing = new Set(Array.from({ length: clients }, (_, id) => id).filter(hasKeys));
    return new Promise((resolve) => {
      this.#onAnswered = (client) => {
        missing.delete(client);
        if (missing.size === 0) resolve();
      };
    });
  }

  /** Resolves when this number of further batches is acknowledged. */
  async acknowledgedMore(batches: number): Promise<void> {
    const acknowledged = () => this.sent.filter(({ location }) => location !== undefined).length;
    const enough = acknowledged() + batches;
    await waitUntil('more batches', () => Promise.resolve(acknowledged() >= enough));
  }

  /** Lets every client end with its current batch. */
  end(): void {
    this.#isOver = true;
  }

  /** Sends from all clients until `end`. */
  async runAll(client: Client): Promise<void> {
    await Promise.all(Array.from({ length: clients }, (_, id) => this.#run(id, client)));
  }

  /** One client: batch after batch, each with a state of its own, 1 to 20 items. */
  async #run(id: number, client: Client): Promise<void> {
    const random = seededRandom(this.#seed * 1000 + id);
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
    sent.answeredAt = Date.now();
    this.#onAnswered?.(id);
    return true;
  }
}

/** Every second client uses keys and retries until it gets a response. */
function hasKeys(client: number): boolean {
  return client % 2 === 0;
}

/** Every guarantee that the counters, receipts and retries violate, in words. */
export async function violationsOf(
  client: Client,
  url: string,
  sent: readonly Sent[],
  isRawRemoved: boolean,
): Promise<string[]> {
  const counted = await readStats(client, url);
  const verdictOn = judge(counted);
  const acknowledged = sent.filter(({ location }) => location !== undefined);
  const violations = sent.flatMap(({ batch, location }) => {
    const verdict = verdictOn(batch);
    const isRight = verdict === 'once' || (verdict === 'none' && location === undefined);
    return isRight ? [] : [`${batch.state}, answered ${location}: counted ${verdict}`];
  });
  if (sent.some((each) => each.location === undefined && each.batch.key !== undefined)) {
    violations.push('a client that tried again was not answered');
  }
  if (!isRawRemoved) {
    const receipts = await runConcurrently(acknowledged, (each) => receiptOf(client, url, each));
    violations.push(...receipts.flat());
  }
  const keyed = acknowledged.filter(({ batch }) => batch.key !== undefined).slice(-500);
  const again = await runConcurrently(keyed, ({ batch }) => client.post(url, batch));
  keyed.forEach(({ batch, location }, index) => {
    if (again[index]?.headers.location === location) return;
    violations.push(`a retry of ${batch.state} was answered as another batch`);
  });
  await waitCounted(client, url);
  const recounted = await readStats(client, url);
  if (JSON.stringify(recounted) !== JSON.stringify(counted)) {
    violations.push('retries changed the counters');
  }
  return violations;
}

async function receiptOf(client: Client, url: string, { batch, location }: Sent) {
  const answer = await client.get(`${url}${location ?? ''}`);
  if (answer?.status !== 200) return [`no receipt of ${batch.state}: ${answer?.text ?? ''}`];
  const { status, counted, enqueued } = JSON.parse(answer.text) as Record<string, unknown>;
  const isRight = status === 'counted' && counted === batch.items && enqueued === batch.items;
  return isRight ? [] : [`the receipt of ${batch.state} says ${answer.text}`];
}

/** Runs the work in order, `clients` at a time; returns the results. */
async function runConcurrently<In, Out>(all: readonly In[], act: (each: In) => Promise<Out>) {
  const results: Out[] = [];
  const queue = all.entries();
  const worker = async () => {
    for (const [index, each] of queue) results[index] = await act(each);
  };
  await Promise.all(Array.from({ length: clients }, worker));
  return results;
}
