import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import { setTimeout as delay } from 'node:timers/promises';

const connections = 16;

/**
 * Posts the bodies `0…count` to /ingest, several concurrently and at most `ratePerSecond` per second;
 * each must be accepted at the first attempt.
 */
export async function postAll(
  url: string,
  count: number,
  bodyOf: (index: number) => string,
  { ratePerSecond, hasKeys }: { ratePerSecond: number; hasKeys: boolean },
): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const start = performance.now();
  let next = 0;
  const lane = async () => {
    for (let index = next++; index < count; index = next++) {
      const earlyMs = start + (index * 1000) / ratePerSecond - performance.now();
      if (earlyMs > 0) await delay(earlyMs);
      await post(agent, url, bodyOf(index), hasKeys ? { 'idempotency-key': randomUUID() } : {});
    }
  };
  try {
    await Promise.all(Array.from({ length: connections }, lane));
  } finally {
    agent.destroy();
  }
}

function post(
  agent: Agent,
  url: string,
  body: string,
  more: Readonly<Record<string, string>>,
): Promise<void> {
  const headers = {
    ...more,
    'content-type': 'application/json',
    'content-length': String(Buffer.byteLength(body)),
  };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/ingest`, { agent, method: 'POST', headers }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part: string) => (text += part));
      response.on('error', reject);
      response.on('end', () => {
        if (response.statusCode === 200) resolve();
        else reject(new Error(`A batch was not accepted: ${response.statusCode ?? '?'} ${text}`));
      });
    });
    sent.on('error', reject);
    sent.end(body);
  });
}
