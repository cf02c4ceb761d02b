/** A response as received over the wire. */
export interface WireAnswer {
  readonly status: number;
  readonly headers: ReadonlyMap<string, string>;
  readonly body: string;
}

const statusLine = /^HTTP\/1\.1 ([1-5]\d\d) [ -~]*$/;
const headerLine = /^([!#$%&'*+.^_`|~0-9A-Za-z-]+): ?([\t -~\u0080-\u00ff]*)$/;

/**
 * Reads all responses of a connection that the server has closed, as strictly as RFC 9112 puts it.
 * @throws where anything in it is no whole, well-formed answer, or an error is no problem+json.
 */
export function readAnswers(received: Buffer): WireAnswer[] {
  const text = received.toString('latin1');
  const answers: WireAnswer[] = [];
  for (let at = 0; at < text.length;) {
    const headEnd = text.indexOf('\r\n\r\n', at);
    if (headEnd < 0) throw new Error(`no whole head: ${JSON.stringify(text.slice(at, at + 200))}`);
    const [first = '', ...lines] = text.slice(at, headEnd).split('\r\n');
    const status = Number(statusLine.exec(first)?.[1] ?? NaN);
    if (Number.isNaN(status)) throw new Error(`no status line: ${JSON.stringify(first)}`);
    const headers = readHeaders(lines);
    at = headEnd + 4;
    if (status === 100 || status === 102) continue;
    // These have no body, and say no length (RFC 9112, 6.3).
    const { body, end } =
      status === 304 || status === 204 ? { body: '', end: at } : readBody(received, at, headers);
    at = end;
    checkBody(status, headers, body);
    answers.push({ status, headers, body });
  }
  return answers;
}

function readBody(received: Buffer, at: number, headers: ReadonlyMap<string, string>) {
  if (headers.get('transfer-encoding') === 'chunked') return readChunks(received, at);
  const length = headers.get('content-length') ?? '';
  if (!/^\d+$/.test(length)) throw new Error('an answer without a length');
  const end = at + Number(length);
  if (end > received.length) throw new Error('an answer that is cut short');
  return { body: received.subarray(at, end).toString('utf8'), end };
}

function readChunks(received: Buffer, from: number) {
  const chunks: Buffer[] = [];
  for (let at = from; ;) {
    const lineEnd = received.indexOf('\r\n', at);
    const size = received.toString('latin1', at, Math.max(at, lineEnd));
    const end = lineEnd + 2 + parseInt(size, 16);
    const isWhole = /^[0-9a-f]{1,8}$/i.test(size) && end + 2 <= received.length;
    if (!isWhole || received.toString('latin1', end, end + 2) !== '\r\n') {
      throw new Error('an answer whose chunks are none');
    }
    chunks.push(received.subarray(lineEnd + 2, end));
    at = end + 2;
    if (end === lineEnd + 2) return { body: Buffer.concat(chunks).toString('utf8'), end: at };
  }
}

function readHeaders(lines: readonly string[]): Map<string, string> {
  const headers = new Map<string, string>();
  for (const line of lines) {
    const [, name, value] = headerLine.exec(line) ?? [];
    if (name === undefined || value === undefined) {
      throw new Error(`a header line that is none: ${JSON.stringify(line)}`);
    }
    if (headers.has(name.toLowerCase())) throw new Error(`${name} twice in an answer`);
    headers.set(name.toLowerCase(), value);
  }
  return headers;
}

function checkBody(status: number, headers: ReadonlyMap<string, string>, body: string): void {
  if (status >= 500) {
    throw new Error(
      `an answer ${status} (retry-after: ${headers.get('retry-after') ?? 'none'}): ${body}`,
    );
  }
  const type = headers.get('content-type') ?? '';
  if (status < 400) {
    if (type === 'application/json') JSON.parse(body);
    return;
  }
  if (type !== 'application/problem+json') throw new Error(`an error ${status} as ${type}`);
  const problem = JSON.parse(body) as Record<string, unknown>;
  const isSound =
    problem['status'] === status &&
    typeof problem['code'] === 'string' &&
    typeof problem['detail'] === 'string' &&
    typeof problem['title'] === 'string';
  if (!isSound) throw new Error(`a problem that is none: ${body}`);
}
