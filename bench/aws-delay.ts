import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';

import { startLocalStack } from '../infra/local/local-stack.ts';
import { synthesizedTemplate } from '../infra/local/template/synthesized-template.ts';
import type { AwsCall } from '../infra/local/emulators/wire-call.ts';
import type { AwsReply } from '../infra/local/emulators/wire.ts';
import { readRawKey } from '../src/domain/batch-id.ts';
import { traffics } from './aws/traffic.ts';

/**
 * How long after its response a batch is counted, at a moderate load, on the emulated stack. Usage: node
 * bench/aws-delay.ts --rate 10 --seconds 20 --items 100
 */
const { values } = parseArgs({
  options: {
    rate: { type: 'string', default: '10' },
    seconds: { type: 'string', default: '20' },
    items: { type: 'string', default: '100' },
    settings: { type: 'string', default: '{}' },
  },
});
const answered = new Map<string, number>();
const counted = new Map<string, number>();

/** A batch is counted with its last chunk: later chunks overwrite the time of earlier ones. */
function note({ operation, requestBody }: AwsCall, { status }: AwsReply): void {
  if (operation !== 'TransactWriteItems' || status !== 200) return;
  const now = performance.now();
  const { TransactItems } = JSON.parse(requestBody.toString()) as {
    TransactItems: { Put?: { Item: { id: { S: string } } } }[];
  };
  for (const { Put } of TransactItems) {
    if (Put !== undefined) counted.set(Put.Item.id.S.replace('batch:', ''), now);
  }
}

const settings = JSON.parse(values.settings) as Record<string, unknown>;
process.env['TZ'] = 'UTC';
const stack = await startLocalStack({
  ...(await synthesizedTemplate(settings)),
  isThrottled: false,
  observeCall: note,
});

async function post(index: number): Promise<void> {
  const body = JSON.stringify({ processed_devices: traffics.live(index, Number(values.items)) });
  const headers = { 'content-type': 'application/json' };
  const response = await fetch(`${stack.url}/ingest`, { method: 'POST', headers, body });
  if (response.status !== 200) throw new Error(`a batch was not accepted: ${response.status}`);
  const { raw_key: rawKey } = (await response.json()) as { raw_key: string };
  answered.set(readRawKey(rawKey)?.batchId ?? '', performance.now());
}

try {
  const rate = Number(values.rate);
  const count = rate * Number(values.seconds);
  const posts = Array.from({ length: count }, async (_, index) => {
    await delay((index * 1000) / rate);
    await post(index);
  });
  await Promise.all(posts);
  while (counted.size < count) await delay(100);
} finally {
  await stack.stop();
}
const delays = [...answered]
  .map(([batchId, at]) => ((counted.get(batchId) ?? NaN) - at) / 1000)
  .sort((a, b) => a - b);
const at = (share: number) => (delays[Math.floor(share * (delays.length - 1))] ?? NaN).toFixed(2);
process.stdout.write(
  `${values.rate} requests/s of ${values.items}: from response to counted median ${at(0.5)} s, 95 % ${at(0.95)} s, longest ${at(1)} s, of ${delays.length}\n`,
);
