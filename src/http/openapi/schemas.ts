import { itemErrorsMax } from '../../domain/batch.ts';
import { fieldBytesMax, itemErrors } from '../../domain/device-event.ts';
import { problemCodes, problemDetails, type ProblemCode } from '../../domain/problem.ts';
import { remedies } from './problems.ts';

/** A JSON Schema (2020-12). */
export interface Schema {
  readonly [keyword: string]: unknown;
  readonly description?: string;
}

const count: Schema = { type: 'integer', minimum: 0 };
const moment: Schema = { type: 'string', format: 'date-time' };
const day: Schema = { type: 'string', format: 'date', pattern: '^\\d{4}-\\d{2}-\\d{2}$' };
const rawKey: Schema = {
  type: 'string',
  pattern: '^raw/.+\\.json$',
  description: 'The key of the stored body.',
};
const name: Schema = { type: 'string', minLength: 1, maxLength: fieldBytesMax };
const nameRule = `1 to ${fieldBytesMax} bytes of UTF-8, without control characters and without white space at either end. Stored as sent.`;

export function refTo(schema: string): Schema {
  return { $ref: `#/components/schemas/${schema}` };
}

/** An object with these members and no others; all are required unless `required` names some. */
function object(
  properties: Readonly<Record<string, Schema>>,
  more: Schema = {},
  required: readonly string[] = Object.keys(properties),
): Schema {
  return { type: 'object', required, properties, additionalProperties: false, ...more };
}

export function problemSchemaName(code: ProblemCode): string {
  return `problem.${code}`;
}

const batch: Schema = {
  type: 'object',
  description: 'A batch. Other members are stored with the raw body and otherwise ignored.',
  required: ['processed_devices'],
  properties: {
    processed_devices: {
      type: 'array',
      // An invalid item does not make the request invalid: it is rejected individually.
      items: refTo('Item'),
      description: 'The items. Only the size of the body limits their number.',
    },
  },
};

const item: Schema = {
  type: 'object',
  description: 'A valid item. An item that does not match is rejected individually.',
  required: ['type', 'state', 'timestamp'],
  properties: {
    type: { ...name, description: `The type of the device. ${nameRule}` },
    state: { ...name, description: `The resulting state of the device. ${nameRule}` },
    timestamp: {
      ...{ type: 'string', format: 'date-time', maxLength: fieldBytesMax },
      description:
        'RFC 3339 with an offset. The item counts on the date as written: `2023-06-16T23:30:00-05:00` counts on 2023-06-16 (unless the installation uses another day rule).',
    },
  },
};

const itemError = object({
  index: { ...count, description: 'The index in `processed_devices`, from 0.' },
  field: { enum: ['type', 'state', 'timestamp', null], description: 'null: the whole item.' },
  code: { enum: Object.keys(itemErrors), description: 'Stable; for programs.' },
  message: { type: 'string', minLength: 1, description: 'For humans; may change.' },
});

const errors: Schema = {
  ...{ type: 'array', items: refTo('ItemError'), maxItems: itemErrorsMax },
  description: `The first ${itemErrorsMax} errors.`,
};
const rejected: Schema = { ...count, description: 'The number of rejected items.' };

const acceptance = object(
  {
    status: { const: 'accepted' },
    raw_key: rawKey,
    enqueued: { ...count, description: 'The number of accepted items.' },
    rejected: { ...rejected, description: 'The number of rejected items. Absent: none.' },
    errors,
    already_there: {
      type: 'boolean',
      description: 'For a replayed batch: whether it was already here, so that nothing was stored.',
    },
  },
  { dependentRequired: { rejected: ['errors'], errors: ['rejected'] } },
  ['status', 'raw_key', 'enqueued'],
);

const receipt = object({
  status: { enum: ['pending', 'counted'] },
  raw_key: rawKey,
  enqueued: { ...count, description: 'The number of accepted items.' },
  counted: { ...count, description: 'The number of items counted so far.' },
  rejected,
  received_at: moment,
});

const statsRow = object(
  {
    date: day,
    type: name,
    state: name,
    count: { type: 'integer', minimum: 1, description: 'The number of items.' },
  },
  { description: 'With `group_by`, a row has only those dimensions.' },
  ['count'],
);

const ready = object(
  {
    status: { const: 'ready' },
    pending_items: {
      ...count,
      description: 'Embedded: the exact number of items accepted but not counted yet.',
    },
    pending_bytes: { ...count, description: 'Embedded: the size of those items in the log.' },
    pending_messages: {
      ...count,
      description: 'On AWS: the approximate number of messages in the queue.',
    },
    dead_letters: {
      ...count,
      description: 'The number of dead letters; `dlq list` shows them.',
    },
    dead_letter_reasons: {
      type: 'array',
      description:
        'Embedded: the most frequent reasons of dead letters, as codes. Absent: there are none.',
      items: object({ reason: { type: 'string' }, count }, {}, ['reason', 'count']),
    },
    counted_through: {
      ...moment,
      description:
        'Everything acknowledged before this moment is counted or a dead letter. Absent: unknown.',
    },
    last_received_at: {
      ...moment,
      description: 'When the latest batch was received. Absent: unknown.',
    },
    latest_date: {
      ...day,
      description: 'Embedded: the latest date that has counters. Absent: there are no counters.',
    },
    archive: object(
      {
        mode: { enum: ['async', 'sync'] },
        lag_bytes: {
          ...count,
          description: 'Bytes of the log that the archive does not hold yet.',
        },
        lag_seconds: {
          type: 'number',
          minimum: 0,
          description: 'The age of the oldest batch that it does not hold; 0 if there is none.',
        },
        problem: { type: 'string', description: 'Why the archive cannot be reached now.' },
      },
      { description: 'Embedded, with `--archive`: how far the archive is behind.' },
      ['mode', 'lag_bytes', 'lag_seconds'],
    ),
    version: { type: 'string', description: 'The version of the program.' },
  },
  { oneOf: [{ required: ['pending_items'] }, { required: ['pending_messages'] }] },
  ['status', 'dead_letters'],
);

/** Problem details (RFC 9457) of one code. */
function problemSchema(code: ProblemCode): Schema {
  const { type, title, status } = problemDetails({ code, detail: '' });
  const namesItems = code === 'no_valid_items' || code === 'invalid_items';
  return object(
    {
      type: { const: type },
      title: { const: title },
      status: { const: status },
      detail: { type: 'string', minLength: 1, description: 'What is wrong, and what to do.' },
      code: { const: code },
      ...(namesItems && { rejected, errors }),
    },
    { title, description: remedies[code] },
  );
}

const health = object({
  status: { const: 'ok' },
  access: { enum: ['open', 'token'] },
  day_zone: {
    type: 'string',
    description:
      'The day rule: an item counts on the date of its timestamp `as-written`, or on the date in `UTC` or in a time zone such as `Europe/Berlin`.',
  },
});

export const schemas: Readonly<Record<string, Schema>> = {
  Batch: batch,
  Item: item,
  ItemError: itemError,
  Acceptance: acceptance,
  Receipt: receipt,
  StatsRow: statsRow,
  Ready: ready,
  Health: health,
  ...Object.fromEntries(problemCodes.map((code) => [problemSchemaName(code), problemSchema(code)])),
};
