import { randomBytes, randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';

import { checkedAddress } from '../../client/checks.ts';
import { absence, addressHint, describeFailure } from '../../client/failure-text.ts';
import { requestOverHttp } from '../../client/http-request.ts';
import { createClient, type Client, type PostOutcome } from '../../client/index.ts';
import { authorization, parseObject, readText, stringOr } from '../../client/post-batch.ts';
import { readRawKey } from '../../domain/batch-id.ts';
import type { CheckOptions } from './check-options.ts';
import { visible } from '../cli/terminal-text.ts';

/** A batch whose key is always there. */
interface Batch {
  readonly body: Uint8Array | string;
  readonly key: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a step has found. After a final one the other steps would find the same. */
interface Finding {
  readonly result: 'ok' | 'warning' | 'failed';
  readonly text: string;
  readonly isFinal?: boolean;
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly body: Record<string, unknown>;
}

const requestMsMax = 30_000;
const answerBytesMax = 1024 * 1024;
/** Of random bytes, so that a body compresses to bytes that are no text. */
const paddingBytes = 4096;

/** Sends a server what clients send, and prints a line for each step. Returns the exit code. */
export async function check(
  { place, bodyBytesMax, token }: CheckOptions,
  env: Record<string, string | undefined>,
): Promise<number> {
  const url = 'url' in place ? place.url : await urlOfStack(place.stack, env);
  const server = new CheckedServer(checkedAddress(url), token);
  process.stdout.write(`checking ${visible(server.url)}\n`);
  const results: Finding['result'][] = [];
  for (const [name, step] of server.steps(bodyBytesMax)) {
    const { result, text, isFinal = false } = await step();
    results.push(result);
    process.stdout.write(`${result.padEnd(8)} ${name.padEnd(11)} ${visible(text)}\n`);
    if (isFinal) break;
  }
  process.stdout.write(`${summary(results)}${server.sideEffectsText()}\n`);
  return results.includes('failed') ? 1 : 0;
}

async function urlOfStack(name: string, env: Record<string, string | undefined>): Promise<string> {
  const { withStack } = await import('../cli/stack.ts');
  return await withStack({ name }, env, ({ apiUrl }) => Promise.resolve(apiUrl));
}

function summary(results: readonly Finding['result'][]): string {
  const count = (result: Finding['result'], what: string) => {
    const { length } = results.filter((each) => each === result);
    return length === 0 ? undefined : `${length} ${what}${length === 1 ? '' : 's'}`;
  };
  const failures = count('failed', 'failure');
  if (failures !== undefined) return `it does not work: ${failures}`;
  const warnings = count('warning', 'warning');
  return warnings === undefined ? 'all steps passed' : `all steps passed, with ${warnings}`;
}

/** All batches are without items, so that they count nothing. */
class CheckedServer {
  readonly url: string;
  readonly #token: string | undefined;
  readonly #client: Client;
  readonly #run = `check-${randomUUID()}`;
  /** Of the batches that were taken, by their idempotency keys. */
  readonly #rawKeys = new Map<string, string>();
  #compressionOff: string | undefined;

  constructor(url: string, token: string | undefined) {
    this.url = url;
    this.#token = token;
    this.#client = createClient({
      url,
      token,
      retry: { attemptsMax: 3, attemptMsMax: requestMsMax, totalMsMax: 60_000 },
      onRetry: () => undefined,
      onCompressionOff: (reason) => (this.#compressionOff = reason),
    });
  }

  steps(bodyBytesMax: number): readonly (readonly [string, () => Promise<Finding>])[] {
    const plain = { body: emptyBatch(), key: `${this.#run}-plain` };
    return [
      ['health', () => this.#health()],
      ['readiness', () => this.#readiness()],
      ['batch', () => this.#taken(plain, 'taken')],
      ['repeat', () => this.#repeated(plain)],
      ['receipt', () => this.#receipt()],
      ['compressed', () => this.#compressed()],
      ['too large', () => this.#tooLarge(bodyBytesMax)],
      ['counters', () => this.#counters()],
    ];
  }

  sideEffectsText(): string {
    const { size } = new Set(this.#rawKeys.values());
    if (size === 0) return '';
    return `; no item was sent, so no count was changed and counting was not tried; ${size} raw ${size === 1 ? 'body' : 'bodies'} without items stay`;
  }

  async #health(): Promise<Finding> {
    const answer = await this.#ask('/healthz');
    if ('result' in answer) return { ...answer, isFinal: true };
    const { status, body } = answer;
    if (status !== 200 || body['status'] !== 'ok') {
      const hint = addressHint(this.url, status) || '; is this the address of a device-pipeline?';
      const text = `${refusal(answer)}${hint}`;
      return { ...failed(text), isFinal: true };
    }
    if (body['access'] !== 'token') return ok('up, asks for no token');
    if (this.#token !== undefined) return ok('up, asks for a token');
    const text = 'it asks for a token; give one in DEVICE_PIPELINE_TOKEN';
    return { ...failed(text), isFinal: true };
  }

  async #readiness(): Promise<Finding> {
    const answer = await this.#ask('/readyz');
    if ('result' in answer) return answer;
    const { status, body } = answer;
    // No other step would fare better with this token.
    if (status === 401) return { ...failed(refusal(answer)), isFinal: true };
    if (status !== 200) return failed(refusal(answer));
    const letters = Number(body['dead_letters']);
    if (letters === 0) return ok('ready, no dead letters');
    return warning(`ready; dead letters: ${letters}; npx device-pipeline dlq list says why`);
  }

  /** A batch that must be accepted. */
  async #taken(batch: Batch, text: string): Promise<Finding> {
    const outcome = await this.#client.sendBatch(batch);
    if (outcome.kind !== 'accepted') return failed(wrongOutcome(outcome));
    this.#rawKeys.set(batch.key, outcome.rawKey);
    if (outcome.enqueued === 0) return ok(text);
    return failed(`the batch has no items, and the answer says ${outcome.enqueued}`);
  }

  /** The same batch again, which is the same to the server. */
  async #repeated(batch: Batch, text = 'taken for the same batch'): Promise<Finding> {
    const before = this.#rawKeys.get(batch.key);
    if (before === undefined) return failed('not tried, for the batch was not taken');
    const finding = await this.#taken(batch, text);
    if (this.#rawKeys.get(batch.key) === before) return finding;
    return failed(
      'the same body under the same Idempotency-Key was taken for another batch: retries would count twice; does a proxy drop the header, or change the body?',
    );
  }

  async #receipt(): Promise<Finding> {
    const [rawKey = ''] = this.#rawKeys.values();
    const batchId = readRawKey(rawKey)?.batchId;
    if (batchId === undefined) return failed('not tried, for the batch was not taken');
    const answer = await this.#ask(`/ingest/${batchId}`);
    if ('result' in answer) return answer;
    const { status, body } = answer;
    if (status !== 200) return failed(refusal(answer));
    if (body['raw_key'] === rawKey) return ok(`says ${stringOr(body['status'], 'nothing')}`);
    return failed('it is of another batch; does a cache stand in front of the server?');
  }

  /** That the plain body is the same to the server shows that it has inflated what was sent. */
  async #compressed(): Promise<Finding> {
    const plain = { body: emptyBatch(), key: `${this.#run}-compressed` };
    const headers = { 'content-encoding': 'gzip' };
    const taken = await this.#taken({ ...plain, body: gzipSync(plain.body), headers }, '');
    if (taken.result === 'failed') return taken;
    const repeated = await this.#repeated(plain, 'taken, and the same as the plain batch');
    if (repeated.result === 'failed' || this.#compressionOff === undefined) return repeated;
    return warning(
      `they do not arrive intact; the same batch uncompressed was taken, and clients of this package do that by themselves: ${this.#compressionOff}`,
    );
  }

  async #tooLarge(bodyBytesMax: number): Promise<Finding> {
    const batch = { body: emptyBatch(bodyBytesMax + 1), key: `${this.#run}-large` };
    const outcome = await this.#client.sendBatch(batch);
    const size = `${bodyBytesMax + 1} bytes`;
    if (outcome.kind === 'refused' && outcome.status === 413) return ok(`${size} refused with 413`);
    if (outcome.kind !== 'accepted') return failed(`413 expected: ${wrongOutcome(outcome)}`);
    this.#rawKeys.set(batch.key, outcome.rawKey);
    return failed(`${size} were taken; if the server's limit is higher, give it as --max-body`);
  }

  async #counters(): Promise<Finding> {
    const date = new Date().toISOString().slice(0, 10);
    const answer = await this.#ask(`/stats?date=${date}&group_by=date`);
    if ('result' in answer) return answer;
    if (answer.status !== 200) return failed(refusal(answer));
    const isList = Array.isArray(parseObject(`{"rows":${answer.text}}`)['rows']);
    return isList ? ok('can be read') : failed('the answer is no list of counters');
  }

  async #ask(path: string): Promise<Answer | Finding> {
    try {
      const response = await requestOverHttp(`${this.url}${path}`, {
        method: 'GET',
        headers: authorization(this.#token),
        signal: AbortSignal.timeout(requestMsMax),
      });
      const text = await readText(response, answerBytesMax);
      return { status: response.status, text, body: parseObject(text) };
    } catch (error) {
      return failed(absence(this.url, describeFailure(error, requestMsMax).reason));
    }
  }
}

/** A batch without items, padded to a size in bytes where one is given. */
function emptyBatch(bytes?: number): string {
  const frame = '{"processed_devices":[],"padding":""}'.length;
  const padding =
    bytes === undefined
      ? randomBytes(paddingBytes).toString('base64')
      : 'x'.repeat(Math.max(0, bytes - frame));
  return JSON.stringify({ processed_devices: [], padding });
}

function ok(text: string): Finding {
  return { result: 'ok', text };
}

function warning(text: string): Finding {
  return { result: 'warning', text };
}

function failed(text: string): Finding {
  return { result: 'failed', text };
}

function refusal({ status, text, body }: Answer): string {
  const why = stringOr(body['detail'], stringOr(body['message'], text.slice(0, 200)));
  const code = stringOr(body['code'], '');
  return `${status}${code && ` ${code}`}${why && `: ${why}`}`;
}

function wrongOutcome(outcome: Exclude<PostOutcome, { kind: 'accepted' }>): string {
  return outcome.kind === 'gave_up'
    ? outcome.reason
    : `${outcome.status} ${outcome.code}: ${outcome.detail}`;
}
