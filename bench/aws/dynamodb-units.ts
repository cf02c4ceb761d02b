import type { AttributeValue } from '@aws-sdk/client-dynamodb';

/** Request units as DynamoDB bills them on demand. */
export interface RequestUnits {
  readonly write: number;
  readonly read: number;
}

const writeBytes = 1024;
const readBytes = 4096;
const none: RequestUnits = { write: 0, read: 0 };

/** An item as sent over the wire: binary values are base64 text. */
type Value = { readonly [Type in keyof AttributeValue]?: unknown };
type Item = Readonly<Record<string, Value>>;

interface WriteRequest {
  readonly Item?: Item;
  readonly Key?: Item;
  readonly UpdateExpression?: string;
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>>;
  readonly ExpressionAttributeValues?: Item;
}

interface Request extends WriteRequest {
  readonly ConsistentRead?: boolean;
  readonly TransactItems?: readonly Readonly<Record<string, WriteRequest>>[];
  readonly RequestItems?: Readonly<Record<string, KeysRequest>>;
}

interface KeysRequest {
  readonly Keys?: readonly Item[];
  readonly ConsistentRead?: boolean;
}

interface Response {
  readonly __type?: string;
  readonly Item?: Item;
  readonly Items?: readonly Item[];
  readonly Count?: number;
  readonly ScannedCount?: number;
  readonly Responses?: Readonly<Record<string, readonly Item[]>>;
  readonly UnprocessedKeys?: Readonly<Record<string, KeysRequest>>;
}

/**
 * The units of one call, computed from its request and its response. DynamoDB bills a write by the larger
 * size of the item before and after it; here it is the size in the request, which is the whole item for
 * all writes of the pipeline except those to dedup blocks. These stay below 1 KB
 * (`dedup-records.test.ts`). A write that its condition rejects is billed, too; one that DynamoDB could
 * not execute is not. Undefined for calls whose units cannot be computed.
 */
export function dynamodbUnits(
  operation: string,
  request: Request,
  response: Response,
): RequestUnits | undefined {
  if (!isBilled(response)) return none;
  const { ConsistentRead: isConsistent = false } = request;
  switch (operation) {
    case 'PutItem':
    case 'UpdateItem':
    case 'DeleteItem':
      return { write: writeUnits(request), read: 0 };
    case 'TransactWriteItems': {
      const writes = (request.TransactItems ?? []).flatMap((each) => Object.values(each));
      // Once to prepare and once to commit.
      const write = writes.reduce((sum, each) => sum + 2 * writeUnits(each), 0);
      return { write, read: 0 };
    }
    case 'GetItem':
      return { write: 0, read: readUnits(itemBytes(response.Item ?? {}), isConsistent) };
    case 'BatchGetItem':
      return { write: 0, read: batchReadUnits(request, response) };
    case 'Query': {
      const { Items = [], Count = 0, ScannedCount = Count } = response;
      // Items that a filter excludes are billed, and their size is unknown here.
      if (ScannedCount > Count) return undefined;
      const bytes = Items.reduce((sum, item) => sum + itemBytes(item), 0);
      return { write: 0, read: readUnits(bytes, isConsistent) };
    }
    // DynamoDB does not bill calls about tables.
    case 'DescribeTable':
      return none;
    default:
      return undefined;
  }
}

/** Whether a call is billed: failed conditions and conflicts are, because the work is done by then. */
function isBilled({ __type: type }: Response): boolean {
  return (
    type === undefined ||
    /#(ConditionalCheckFailed|TransactionCanceled|TransactionConflict)Exception$/.test(type)
  );
}

function writeUnits(request: WriteRequest): number {
  const {
    Item = {},
    Key = {},
    UpdateExpression = '',
    ExpressionAttributeNames = {},
    ExpressionAttributeValues = {},
  } = request;
  // An update sets or adds each value to an attribute that it names; conditions have values, too.
  const names = Object.values(ExpressionAttributeNames).reduce((sum, name) => sum + utf8(name), 0);
  const values = Object.entries(ExpressionAttributeValues)
    .filter(([name]) => UpdateExpression.match(/:\w+/g)?.includes(name))
    .reduce((sum, [, value]) => sum + valueBytes(value), 0);
  const updated = 'Item' in request ? 0 : names + values;
  return Math.max(1, Math.ceil((itemBytes(Item) + itemBytes(Key) + updated) / writeBytes));
}

/** Each item is rounded up separately; a key without an item is also billed as a read. */
function batchReadUnits(
  { RequestItems = {} }: Request,
  { Responses = {}, UnprocessedKeys = {} }: Response,
): number {
  return Object.entries(RequestItems).reduce((sum, [table, { Keys = [], ConsistentRead }]) => {
    const found = Responses[table] ?? [];
    const missing = Keys.length - found.length - (UnprocessedKeys[table]?.Keys?.length ?? 0);
    const sizes = [...found.map(itemBytes), ...Array<number>(missing).fill(0)];
    const unitsOf = (bytes: number) => readUnits(bytes, ConsistentRead ?? false);
    return sum + sizes.reduce((units, bytes) => units + unitsOf(bytes), 0);
  }, 0);
}

function readUnits(bytes: number, isConsistent: boolean): number {
  return Math.max(1, Math.ceil(bytes / readBytes)) * (isConsistent ? 1 : 0.5);
}

/** The size of an item: names and values, as DynamoDB's developer guide describes it. */
export function itemBytes(item: Item): number {
  return Object.entries(item).reduce(
    (sum, [name, value]) => sum + utf8(name) + valueBytes(value),
    0,
  );
}

function valueBytes(value: Value): number {
  const [type = '', content] = Object.entries(value)[0] ?? [];
  switch (type) {
    case 'S':
      return utf8(String(content));
    case 'N':
      return numberBytes(String(content));
    case 'NS':
      return (content as readonly string[]).reduce((sum, number) => sum + numberBytes(number), 0);
    case 'B':
      return Buffer.from(String(content), 'base64').length;
    case 'BOOL':
    case 'NULL':
      return 1;
    default:
      throw new Error(`The size of an attribute of type ${type} is not known here.`);
  }
}

function numberBytes(digits: string): number {
  return Math.ceil(digits.replace(/[-.]|^0+|0+$/g, '').length / 2) + 1;
}

function utf8(text: string): number {
  return Buffer.byteLength(text);
}
