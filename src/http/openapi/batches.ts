import { anyScope, ingestScope, replayScope } from '../../auth/check-access.ts';
import { idempotencyKeyCharactersMax } from '../app/ingest-headers.ts';
import { example, header, host, json, type OperationPlan } from './plan.ts';
import { replayHeaderBytesMax } from '../app/replay-header.ts';

const rawKey = 'raw/2026-11-23T09:41:07.512Z-00000000-0040-8f3a-9c41-5d0e6f2b7a18.json';
const batchId = '00000000-0040-8f3a-9c41-5d0e6f2b7a18';
const batch = {
  processed_devices: [
    { type: 'laptop', state: 'erased', timestamp: '2023-06-16T13:00:00Z' },
    { type: 'phone', state: 'erasure failed', timestamp: '2023-06-16T23:30:00-05:00' },
  ],
};

export const postBatch: OperationPlan = {
  id: 'postBatch',
  tag: 'Batches',
  summary: 'Send a batch',
  description: [
    '200 means that the raw body is durable and every accepted item will be counted exactly once, whatever fails afterwards. No response, or a 5xx, leaves open whether the batch was stored: send it again with the same `Idempotency-Key`, and it counts once. It is counted as a whole or not at all.',
    'Valid items are accepted; invalid ones are rejected and listed in `errors`. With `Prefer: handling=strict`, one invalid item refuses the whole batch. A retry with the same key and body is the same batch: it gets the same response and counts once. Keys belong to the name of the token and are kept for a limited time (90 days by default).',
  ].join('\n\n'),
  parameters: [
    header(
      'Idempotency-Key',
      { type: 'string', minLength: 1, maxLength: idempotencyKeyCharactersMax, pattern: '^[!-~]+$' },
      'Makes a retry safe. Visible ASCII; use a new key, such as a UUID, for each batch.',
    ),
    header(
      'Prefer',
      { type: 'string', examples: ['handling=strict'] },
      '`handling=strict`: one invalid item refuses the whole batch, and nothing is stored (RFC 7240).',
    ),
    header(
      'Content-Encoding',
      { enum: ['identity', 'gzip', 'x-gzip'], default: 'identity' },
      'How the body is encoded. The size limit applies to the body as sent and to the inflated body.',
    ),
    header(
      'Replay-Of',
      { type: 'string', maxLength: replayHeaderBytesMax },
      `Moves a batch from another installation; needs a token with the scope \`${replayScope.join()}\`. ASCII JSON with \`"raw_key"\`, \`"accepted"\` and \`"rejected"\`, and optionally \`"excluded"\`, \`"caller"\` and \`"log_id"\`. The command \`replay\` writes it.`,
    ),
  ],
  body: {
    description: 'UTF-8 JSON.',
    content: json('Batch', { batch: example('Two items', batch) }),
  },
  successes: {
    200: {
      description: 'The batch is durable; its accepted items are or will be counted.',
      headers: ['Location', 'Preference-Applied'],
      content: json('Acceptance', {
        all: example('All items accepted', { status: 'accepted', raw_key: rawKey, enqueued: 2 }),
        some: example('One item rejected', {
          ...{ status: 'accepted', raw_key: rawKey, enqueued: 1, rejected: 1 },
          errors: [
            {
              ...{ index: 1, field: 'type', code: 'blank' },
              message: 'type must not be empty or only white space',
            },
          ],
        }),
      }),
    },
  },
  scopes: [...ingestScope, ...replayScope],
  samples: [
    {
      label: 'Send a batch',
      source: `curl -s ${host}/ingest \\
  -H 'Content-Type: application/json' \\
  -H 'Idempotency-Key: gateway-7-000001' \\
  -d '${JSON.stringify(batch).replaceAll('{"type', '\n    {"type')}'`,
    },
    {
      label: 'Compressed, with a token',
      source: `gzip -c batch.json | curl -s ${host}/ingest \\
  -H "Authorization: Bearer $TOKEN" \\
  -H 'Content-Type: application/json' \\
  -H 'Content-Encoding: gzip' \\
  --data-binary @-`,
    },
  ],
};

export const getReceipt: OperationPlan = {
  id: 'getReceipt',
  tag: 'Batches',
  summary: 'Read the receipt of a batch',
  description:
    'Says whether the items of the batch are counted. The response to an accepted batch links here in `Location`.',
  parameters: [
    {
      ...{ name: 'batchId', in: 'path', required: true, example: batchId },
      description: 'The id of the batch.',
      schema: { type: 'string', format: 'uuid' },
    },
  ],
  successes: {
    200: {
      description: 'The receipt.',
      headers: [],
      content: json('Receipt', {
        counted: example('Counted', {
          ...{ status: 'counted', raw_key: rawKey, enqueued: 2, counted: 2, rejected: 0 },
          received_at: '2026-11-23T09:41:07.512Z',
        }),
      }),
    },
  },
  scopes: anyScope,
  samples: [{ label: 'Request', source: `curl -s ${host}/ingest/${batchId}` }],
};
