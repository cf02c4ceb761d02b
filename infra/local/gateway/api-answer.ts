/** The response of API Gateway to the client. */
export interface ApiAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly cookies: readonly string[];
  readonly body: Buffer;
}

/** A response that API Gateway creates itself. */
export function gatewayAnswer(status: number, message: string): ApiAnswer {
  return jsonAnswer(status, JSON.stringify({ message }));
}

/**
 * Converts a function's result in payload format 2.0. A result without a status code is the body of a
 * 200 response; a malformed one is a failure of the function.
 */
export function apiAnswer(payload: string): ApiAnswer {
  const reply = JSON.parse(payload) as unknown;
  if (typeof reply !== 'object' || reply === null || !('statusCode' in reply)) {
    return jsonAnswer(200, typeof reply === 'string' ? reply : payload);
  }
  const { statusCode, headers = {}, cookies = [], body, isBase64Encoded } = reply as Reply;
  const status = Number(statusCode);
  const bodyIsGood = body === undefined || body === null || typeof body === 'string';
  if (!Number.isInteger(status) || status < 100 || status > 599 || !bodyIsGood) {
    return gatewayAnswer(500, 'Internal Server Error');
  }
  const texts = Object.entries(headers ?? {}).map(([name, value]) => [
    name.toLowerCase(),
    String(value),
  ]);
  return {
    status,
    headers: Object.fromEntries(texts) as Record<string, string>,
    cookies: Array.isArray(cookies) ? cookies.map(String) : [],
    body: Buffer.from(body ?? '', isBase64Encoded === true ? 'base64' : 'utf8'),
  };
}

interface Reply {
  readonly statusCode: unknown;
  readonly headers?: Readonly<Record<string, unknown>> | null;
  readonly cookies?: unknown;
  readonly body?: string | null;
  readonly isBase64Encoded?: unknown;
}

function jsonAnswer(status: number, text: string): ApiAnswer {
  const headers = { 'content-type': 'application/json' };
  return { status, headers, cookies: [], body: Buffer.from(text) };
}
