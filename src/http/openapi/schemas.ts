import { itemErrorsMax } from '../../domain/batch.ts';
import { fieldBytesMax, itemErrors } from '../../domain/device-event.ts';
import { problemCodes, problemDetails, type ProblemCode } from '../../domain/problem.ts';
import { remedies } from './problems.ts';

/** Of JSON Schema 2020-12, what is used here. */
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
  description: 'The name of the stored body.',
};
const name: Schema = { type: 'string', minLength: 1, maxLength: fieldBytesMax };
const nameRule = `1 to ${fieldBytesMax} bytes of UTF-8, no control characters, no white space at the ends. Not changed in any way.`;

export function refTo(schema: string): Schema {
  return { $ref: `#/components/schemas/${schema}` };
}

function object(
  properties: Readonly<Record<string, Schema>>,
  required: readonly string[],
  more: Schema = {},
): Schema {
  return { type: 'object', required, properties, additionalProperties: false, ...more };
}

export function problemSchemaName(code: ProblemCode): string {
  return `problem.${code}`;
}

const batch: Schema = {
  type: 'object',
  description: 'A batch. Other members are kept in the raw body, and not looked at.',
  required: ['processed_devices'],
  properties: {
    processed_devices: {
      type: 'array',
      // A bad item does not make the request bad: it is refused by itself.
      items: refTo('Item'),
      description: 'The items, in any number that fits into the body.',
    },
  },
};

const item: Schema = {
  type: 'object',
  description: 'An item that is counted. One that is not of this form is refused by itself.',
  required: ['type', 'state', 'timestamp'],
  properties: {
    type: { ...name, description: `What it is. ${nameRule}` },
    state: { ...name, description: `What became of it. ${nameRule}` },
    timestamp: {
      ...{ type: 'string', format: 'date-time', maxLength: fieldBytesMax },
      description:
        'RFC 3339 with its zone. The item counts on the date as written: `2023-06-16T23:30:00-05:00` counts on 2023-06-16 (an installation may be set to another zone).',
    },
  },
};

const itemError = object(
  {
    index: { ...count, description: 'The place in `processed_devices`, from 0.' },
    field: { enum: ['type', 'state', 'timestamp', null], description: 'null: the whole item.' },
    code: { enum: Object.keys(itemErrors), description: 'Stable: act on it.' },
    message: { type: 'string', minLength: 1, description: 'For people.' },
  },
  ['index', 'field', 'code', 'message'],
);

const errors: Schema = {
  ...{ type: 'array', items: refTo('ItemError'), maxItems: itemErrorsMax },
  description: `The first ${itemErrorsMax} errors.`,
};
const rejected: Schema = { ...count, description: 'How many items were refused.' };

const acceptance = object(
  {
    status: { const: 'accepted' },
    raw_key: rawKey,
    enqueued: { ...count, description: 'How many items are counted, or will be.' },
    rejected: { ...rejected, description: 'How many items were refused. Absent: none.' },
    errors,
    already_there: {
      type: 'boolean',
      description: 'Of a replayed batch: it was here before, and nothing was done.',
    },
  },
  ['status', 'raw_key', 'enqueued'],
  { dependentRequired: { rejected: ['errors'], errors: ['rejected'] } },
);

const receipt = object(
  {
    status: { enum: ['pending', 'counted'] },
    raw_key: rawKey,
    enqueued: { ...count, description: 'Items that are or will be counted.' },
    counted: { ...count, description: 'Items that are counted.' },
    rejected,
    received_at: moment,
  },
  ['status', 'raw_key', 'enqueued', 'counted', 'rejected', 'received_at'],
);

const statsRow = object(
  {
    date: day,
    type: name,
    state: name,
    count: { type: 'integer', minimum: 1, description: 'Items counted.' },
  },
  ['count'],
  { description: 'With `group_by`, only the dimensions that it names are there.' },
);

const ready = object(
  {
    status: { const: 'ready' },
    pending_items: { ...count, description: 'Accepted and not counted yet, exactly. Embedded.' },
    pending_bytes: { ...count, description: 'What those take in the log. Embedded.' },
    pending_messages: { ...count, description: 'About so many wait in the queue. On AWS.' },
    dead_letters: { ...count, description: 'What could not be counted: see `dlq list`.' },
    counted_through: {
      ...moment,
      description:
        'Whatever was acknowledged before is counted, or a dead letter. Absent: not known.',
    },
    last_received_at: { ...moment, description: 'When the latest batch came. Absent: not known.' },
    latest_date: {
      ...day,
      description: 'The latest date that has counts. Absent: there is none. Embedded.',
    },
  },
  ['status', 'dead_letters'],
  { oneOf: [{ required: ['pending_items'] }, { required: ['pending_messages'] }] },
);

/** A refusal as RFC 9457 has it, each with a code of its own. */
function problemSchema(code: ProblemCode): Schema {
  const { type, title, status } = problemDetails({ code, detail: '' });
  const namesItems = code === 'no_valid_items' || code === 'invalid_items';
  return object(
    {
      type: { const: type },
      title: { const: title },
      status: { const: status },
      detail: { type: 'string', minLength: 1, description: 'What is wrong here, and what to do.' },
      code: { const: code },
      ...(namesItems && { rejected, errors }),
    },
    [
      ...['type', 'title', 'status', 'detail', 'code'],
      ...(namesItems ? ['rejected', 'errors'] : []),
    ],
    { title, description: remedies[code] },
  );
}

const health = object(
  {
    status: { const: 'ok' },
    access: { enum: ['open', 'token'] },
    day_zone: {
      type: 'string',
      description:
        'On which day an item counts: that of its timestamp `as-written`, or the one in `UTC` or in a time zone such as `Europe/Berlin`.',
    },
  },
  ['status', 'access', 'day_zone'],
);

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
