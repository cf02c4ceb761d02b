import { randomBytes, randomUUID } from 'node:crypto';
import { gzipSync } from 'node:zlib';

import { checkedAddress } from '../../client/checks.ts';
import {
  absence,
  addressHint,
  describeFailure,
  wrongServerHint,
} from '../../client/failure-text.ts';
import { requestOverHttp } from '../../client/http-request.ts';
import { createClient, type Client } from '../../client/index.ts';
import {
  authorization,
  failureOf,
  parseObject,
  readText,
  stringOr,
} from '../../client/post-batch.ts';
import { readRawKey } from '../../domain/batch-id.ts';
import type { CheckOptions } from './check-options.ts';
import { visible } from '../cli/terminal-text.ts';
import { amountOf } from '../../util/thousands.ts';

/** A batch with an idempotency key. */
interface Batch {
  readonly body: Uint8Array | string;
  readonly key: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** The result of a step. After a final one, the remaining steps are skipped. */
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
/** Random, so that the compressed body contains bytes that are not text. */
const paddingBytes = 4096;

/** Sends requests as clients do and prints a line for each step. Returns the exit code. */
export async function check(
  { url, stack, maxBody, token }: CheckOptions,
  env: Record<string, string | undefined>,
): Promise<number> {
  const address = stack === undefined ? url : await urlOfStack(stack, env);
  const server = new CheckedServer(checkedAddress(address), token);
  process.stdout.write(`checking ${visible(server.url)}\n`);
  const results: Finding['result'][] = [];
  for (const [name, step] of server.steps(maxBody)) {
    const { result, text, isFinal = false } = await step();
    results.push(result);
    process.stdout.write(`${result.padEnd(8)} ${name.padEnd(11)} ${visible(text)}\n`);
    if (isFinal) break;
  }
  process.stdout.write(`${summary(results)}${server.sideEffectsText()}\n`);
  return results.includes('failed') ? 1 : 0;
}

async function urlOfStack(name: string, env: Record<string, string | undefined>): Promise<string> {
  const { openStack } = await import('../../engines/aws/admin/stack.ts');
  const stack = await openStack(name, env);
  stack.close();
  return stack.apiUrl;
}

function summary(results: readonly Finding['result'][]): string {
  const count = (result: Finding['result'], what: string) => {
    const { length } = results.filter((each) => each === result);
    return length === 0 ? undefined : amountOf(length, what);
  };
  const failures = count('failed', 'failure');
  if (failures !== undefined) return `the check failed: ${failures}`;
  const warnings = count('warning', 'warning');
  return warnings === undefined ? 'all steps passed' : `all steps passed, with ${warnings}`;
}

/** The server under check. All batches have no items, so they change no counter. */
class CheckedServer {
  readonly url: string;
  readonly #token: string | undefined;
  readonly #client: Client;
  readonly #run = `check-${randomUUID()}`;
  /** The raw keys of the accepted batches, by idempotency key. */
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
      ['batch', () => this.#accepted(plain, 'accepted')],
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
    return `; no items were sent, so no counter changed and counting was not tested; ${amountOf(size, 'raw body')} without items remain`;
  }

  async #health(): Promise<Finding> {
    const answer = await this.#ask('/healthz');
    if ('result' in answer) return { ...answer, isFinal: true };
    const { status, body } = answer;
    if (status !== 200 || body['status'] !== 'ok') {
      const hint = addressHint(this.url, status) || `; ${wrongServerHint}`;
      return { ...failed(`${refusal(answer)}${hint}`), isFinal: true };
    }
    if (body['access'] !== 'token') return ok('up, requires no token');
    if (this.#token !== undefined) return ok('up, requires a token');
    const text = 'the server requires a token; set DEVICE_PIPELINE_TOKEN';
    return { ...failed(text), isFinal: true };
  }

  async #readiness(): Promise<Finding> {
    const answer = await this.#ask('/readyz');
    if ('result' in answer) return answer;
    const { status, body } = answer;
    // Every other step would fail with this token, too.
    if (status === 401) return { ...failed(refusal(answer)), isFinal: true };
    if (status !== 200) return failed(refusal(answer));
    const deadLetters = Number(body['dead_letters']);
    if (deadLetters === 0) return ok('ready, no dead letters');
    return warning(`ready; ${deadLetters} dead letters: see npx device-pipeline dlq list`);
  }

  /** Sends a batch that must be accepted. */
  async #accepted(batch: Batch, text: string): Promise<Finding> {
    const outcome = await this.#client.sendBatch(batch);
    if (outcome.kind !== 'accepted') return failed(failureOf(outcome));
    this.#rawKeys.set(batch.key, outcome.rawKey);
    if (outcome.enqueued === 0) return ok(text);
    return failed(`the batch has no items, but the response says ${outcome.enqueued}`);
  }

  /** Repeats a batch, which the server must recognise as the same one. */
  async #repeated(batch: Batch, text = 'recognised as the same batch'): Promise<Finding> {
    const before = this.#rawKeys.get(batch.key);
    if (before === undefined) return failed('skipped, because the batch was not accepted');
    const finding = await this.#accepted(batch, text);
    if (this.#rawKeys.get(batch.key) === before) return finding;
    return failed(
      'the same body with the same Idempotency-Key was accepted as a new batch, so retries would count twice; check whether a proxy drops the header or changes the body',
    );
  }

  async #receipt(): Promise<Finding> {
    const [rawKey = ''] = this.#rawKeys.values();
    const batchId = readRawKey(rawKey)?.batchId;
    if (batchId === undefined) return failed('skipped, because the batch was not accepted');
    return this.#read(`/ingest/${batchId}`, ({ body }) =>
      body['raw_key'] === rawKey
        ? ok(`says ${stringOr(body['status'], 'nothing')}`)
        : failed('it belongs to another batch; check whether a cache is in front of the server'),
    );
  }

  /** The server recognises the plain body as the same batch only if it has inflated the gzipped one. */
  async #compressed(): Promise<Finding> {
    const plain = { body: emptyBatch(), key: `${this.#run}-compressed` };
    const headers = { 'content-encoding': 'gzip' };
    const accepted = await this.#accepted({ ...plain, body: gzipSync(plain.body), headers }, '');
    if (accepted.result === 'failed') return accepted;
    const repeated = await this.#repeated(plain, 'accepted, and the same as the plain batch');
    if (repeated.result === 'failed' || this.#compressionOff === undefined) return repeated;
    return warning(
      `compressed bodies do not arrive intact; uncompressed ones do, and the client of this package switches to them automatically: ${this.#compressionOff}`,
    );
  }

  async #tooLarge(bodyBytesMax: number): Promise<Finding> {
    const batch = { body: emptyBatch(bodyBytesMax + 1), key: `${this.#run}-large` };
    const outcome = await this.#client.sendBatch(batch);
    const size = `${bodyBytesMax + 1} bytes`;
    if (outcome.kind === 'refused' && outcome.status === 413) return ok(`${size} refused with 413`);
    if (outcome.kind !== 'accepted') return failed(`413 expected: ${failureOf(outcome)}`);
    this.#rawKeys.set(batch.key, outcome.rawKey);
    return failed(`${size} were accepted; if the server's limit is higher, give it as --max-body`);
  }

  async #counters(): Promise<Finding> {
    const date = new Date().toISOString().slice(0, 10);
    return this.#read(`/stats?date=${date}&group_by=date`, ({ text }) => {
      const isList = Array.isArray(parseObject(`{"rows":${text}}`)['rows']);
      return isList ? ok('can be read') : failed('the response is not a list of counters');
    });
  }

  /** The result of `judge` for a response with status 200. */
  async #read(path: string, judge: (answer: Answer) => Finding): Promise<Finding> {
    const answer = await this.#ask(path);
    if ('result' in answer) return answer;
    return answer.status === 200 ? judge(answer) : failed(refusal(answer));
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
      return failed(absence(this.url, describeFailure(error, requestMsMax)));
    }
  }
}

/** A body without items, of the given size in bytes if there is one. */
function emptyBatch(bytes?: number): string {
  const frame = '{"processed_devices":[],"padding":""}'.length;
  const padding =
    bytes === undefined
      ? randomBytes(paddingBytes).toString('base64')
      : 'x'.repeat(Math.max(0, bytes - frame));
  return JSON.stringify({ processed_devices: [], padding });
}

function findingOf(result: Finding['result']): (text: string) => Finding {
  return (text) => ({ result, text });
}
const ok = findingOf('ok');
const warning = findingOf('warning');
const failed = findingOf('failed');

function refusal({ status, text, body }: Answer): string {
  const why = stringOr(body['detail'], stringOr(body['message'], text.slice(0, 200)));
  const code = stringOr(body['code'], '');
  return `${status}${code && ` ${code}`}${why && `: ${why}`}`;
}
