import {
  ConditionalCheckFailedException,
  IdempotentParameterMismatchException,
  TransactionCanceledException,
  type AttributeValue,
  type BatchGetItemCommandInput,
  type CancellationReason,
  type DeleteItemCommandInput,
  type GetItemCommandInput,
  type PutItemCommandInput,
  type QueryCommandInput,
  type ScanCommandInput,
  type TransactGetItemsCommandInput,
  type TransactWriteItem,
  type TransactWriteItemsCommandInput,
} from '@aws-sdk/client-dynamodb';
import { isDeepStrictEqual } from 'node:util';

import { compareUtf8 } from '../../../src/domain/counter.ts';
import { isKeyFree } from '../../../src/engines/aws/ledger/batch-records.ts';
import { knowsOnly, serviceError, unknownToSimulation } from './aws-simulated-errors.ts';

export type Item = Record<string, AttributeValue>;
type Values = Record<string, AttributeValue> | undefined;

export interface TableKeys {
  readonly partition: string;
  readonly sort: string;
}

/** The lifetime of a transaction token in DynamoDB. */
const tokenMs = 10 * 60_000;
const writesMax = 100;
const $metadata = { httpStatusCode: 400 };

/** The expressions that the engine uses, with their meaning; the simulation parses none. */
const conditions: Record<string, (old: Item | undefined, values: Values) => boolean> = {
  'attribute_not_exists(id)': (old) => old === undefined,
  [isKeyFree]: (old, values) =>
    old === undefined ||
    Number((old['replayed_at'] ?? old['received_at'])?.N) <= Number(values?.[':expired']?.N) ||
    (old['batch_id'] !== undefined && old['batch_id'].S === values?.[':replaced']?.S),
  'attribute_exists(id)': (old) => old !== undefined,
  'run_id = :run_id': (old, values) => old?.['run_id']?.S === values?.[':run_id']?.S,
  '#count = :zero': (old) => old?.['count']?.N === '0',
  'contains(numbers, :n0) AND NOT contains(dropped, :n0)': (old, values) =>
    hasNumber(old, 'numbers', values?.[':n0']) && !hasNumber(old, 'dropped', values?.[':n0']),
};
/** The condition on new records in a dedup block, with as many names as there are records. */
const isInNone = /^NOT \(contains\(numbers, :n0\)(?: OR contains\(numbers, :n\d+\))*\)$/;
const keyConditions: Record<string, (sortKey: string, values: Values) => boolean> = {
  '#date = :date': () => true,
  'id = :id': () => true,
  'id = :id AND begins_with(entry, :orphan)': (sortKey, values) =>
    sortKey.startsWith(values?.[':orphan']?.S ?? '-'),
  'id = :id AND begins_with(entry, :prefix)': (sortKey, values) =>
    sortKey.startsWith(values?.[':prefix']?.S ?? '-'),
};
const filters: Record<string, (item: Item, values: Values) => boolean> = {
  'next_at <= :due': (item, values) => Number(item['next_at']?.N) <= Number(values?.[':due']?.N),
};
const dateFilter = '#date BETWEEN :from AND :to';

/** What each update makes of a row. */
const updates: Record<string, (old: Item, values: Values) => Item> = {
  'SET #type = :type, #state = :state ADD #count :count': (old, values) => {
    const { ':type': type, ':state': state, ':count': count } = values ?? {};
    if (type === undefined || state === undefined) throw unknownToSimulation('half an update');
    const sum = BigInt(old['count']?.N ?? '0') + BigInt(count?.N ?? '');
    return { ...old, type, state, count: { N: String(sum) } };
  },
  'SET expires_at = if_not_exists(keep_until, :expires_at) ADD numbers :numbers': (
    old,
    values,
  ) => ({
    ...withNumbers(old, 'numbers', values),
    expires_at: old['keep_until'] ?? valueOf(values, ':expires_at'),
  }),
  'SET expires_at = :never, keep_until = :never ADD numbers :numbers, dropped :numbers': (
    old,
    values,
  ) => ({
    ...withNumbers(withNumbers(old, 'numbers', values), 'dropped', values),
    ...{ expires_at: valueOf(values, ':never'), keep_until: valueOf(values, ':never') },
  }),
  'DELETE numbers :numbers': (old, values) => {
    const gone = valueOf(values, ':numbers').NS ?? [];
    const left = (old['numbers']?.NS ?? []).filter((number) => !gone.includes(number));
    if (left.length > 0) return { ...old, numbers: { NS: left } };
    return Object.fromEntries(Object.entries(old).filter(([name]) => name !== 'numbers'));
  },
};

function valueOf(values: Values, name: string): AttributeValue {
  const value = values?.[name];
  if (value === undefined) throw serviceError('ValidationException', 400, `no value ${name}`);
  return value;
}

function withNumbers(old: Item, name: string, values: Values): Item {
  const added = valueOf(values, ':numbers').NS ?? [];
  return { ...old, [name]: { NS: [...new Set([...(old[name]?.NS ?? []), ...added])] } };
}

function hasNumber(row: Item | undefined, name: string, value: AttributeValue | undefined) {
  return row?.[name]?.NS?.includes(value?.N ?? '') === true;
}

/** DynamoDB as far as the engine uses it: each call is one atomic step. */
export class SimulatedDynamodb {
  readonly tables = new Map<string, SimulatedTable>();
  /** The page size of a query without a limit. */
  readonly pageItems: number;
  readonly #now: () => number;
  readonly #tokens = new Map<string, { writes: readonly TransactWriteItem[]; at: number }>();

  constructor(tables: Record<string, TableKeys>, now: () => number, pageItems = 3) {
    this.#now = now;
    this.pageItems = pageItems;
    for (const [name, keys] of Object.entries(tables)) {
      this.tables.set(name, new SimulatedTable(keys));
    }
  }

  getItem(request: GetItemCommandInput) {
    knowsOnly(request, ['TableName', 'Key', 'ConsistentRead']);
    if (request.ConsistentRead !== true) throw unknownToSimulation('reads that may be old');
    const Item = this.#table(request.TableName).get(request.Key ?? {});
    return { $metadata: {}, ...(Item !== undefined && { Item: { ...Item } }) };
  }

  putItem(request: PutItemCommandInput) {
    knowsOnly(request, [
      ...['TableName', 'Item', 'ConditionExpression', 'ExpressionAttributeValues'],
      'ReturnValuesOnConditionCheckFailure',
    ]);
    const table = this.#table(request.TableName);
    const item = request.Item ?? {};
    const old = table.get(item);
    if (!holds(request.ConditionExpression, old, request.ExpressionAttributeValues)) {
      const isAsked = request.ReturnValuesOnConditionCheckFailure === 'ALL_OLD';
      const message = 'The conditional request failed';
      throw new ConditionalCheckFailedException({
        ...{ message, $metadata },
        ...(isAsked && old !== undefined && { Item: { ...old } }),
      });
    }
    table.put(item);
    return { $metadata: {} };
  }

  deleteItem(request: DeleteItemCommandInput) {
    knowsOnly(request, [
      ...['TableName', 'Key', 'ConditionExpression', 'ExpressionAttributeNames'],
      'ExpressionAttributeValues',
    ]);
    const table = this.#table(request.TableName);
    const old = table.get(request.Key ?? {});
    if (!holds(request.ConditionExpression, old, request.ExpressionAttributeValues)) {
      const message = 'The conditional request failed';
      throw new ConditionalCheckFailedException({ message, $metadata });
    }
    table.delete(request.Key ?? {});
    return { $metadata: {} };
  }

  describeTable({ TableName }: { readonly TableName?: string | undefined }) {
    const ItemCount = this.#table(TableName).items().length;
    const identity = { TableId: `id of ${TableName ?? ''}`, CreationDateTime: new Date(0) };
    return { $metadata: {}, Table: { ...identity, ItemCount, TableSizeBytes: 100 * ItemCount } };
  }

  /** Pages of the table as it is when each is read; of all segments, the first has the items. */
  scan(request: ScanCommandInput) {
    knowsOnly(request, [
      ...['TableName', 'Segment', 'TotalSegments', 'ConsistentRead', 'ExclusiveStartKey'],
      ...['FilterExpression', 'ExpressionAttributeNames', 'ExpressionAttributeValues'],
    ]);
    const { FilterExpression: filter, ExpressionAttributeValues: values } = request;
    if (filter !== undefined && filter !== dateFilter) throw unknownToSimulation(filter);
    if (request.ConsistentRead !== true) throw unknownToSimulation('reads that may be old');
    const table = this.#table(request.TableName);
    const nameOf = (item: Item) => JSON.stringify(table.keyOf(item));
    const start = request.ExclusiveStartKey === undefined ? '' : nameOf(request.ExclusiveStartKey);
    const found =
      request.Segment === 0
        ? table
            .items()
            .map((item) => ({ item, name: nameOf(item) }))
            .filter(({ name }) => start === '' || compareUtf8(name, start) > 0)
            .sort((a, b) => compareUtf8(a.name, b.name))
            .map(({ item }) => item)
        : [];
    const page = found.slice(0, this.pageItems);
    const last = page.at(-1);
    const isWithin = ({ date }: Item) =>
      filter === undefined ||
      (compareUtf8(date?.S ?? '', values?.[':from']?.S ?? '') >= 0 &&
        compareUtf8(date?.S ?? '', values?.[':to']?.S ?? '') <= 0);
    return {
      $metadata: {},
      Items: page.filter(isWithin).map((item) => ({ ...item })),
      ...(page.length < found.length &&
        last !== undefined && { LastEvaluatedKey: table.keyOf(last) }),
    };
  }

  /**
   * Sometimes leaves a part of the keys unprocessed. Eventually consistent reads miss the latest writes.
   */
  batchGetItem({ RequestItems = {}, ...others }: BatchGetItemCommandInput) {
    knowsOnly(others, []);
    const Responses: Record<string, Item[]> = {};
    const UnprocessedKeys: Record<string, { Keys: Item[] }> = {};
    for (const [name, { Keys = [], ...how }] of Object.entries(RequestItems)) {
      knowsOnly(how, ['ConsistentRead', 'ProjectionExpression']);
      const table = this.#table(name);
      if (new Set(Keys.map((key) => JSON.stringify(table.keyOf(key)))).size < Keys.length) {
        const message = 'Provided list of item keys contains duplicates';
        throw serviceError('ValidationException', 400, message);
      }
      const done = Math.max(1, Keys.length - (Keys.length % 3));
      const items = Keys.slice(0, done)
        .map((key) => table.get(key))
        .filter((item) => item !== undefined)
        .filter((item) => how.ConsistentRead === true || item !== table.writtenLast);
      const names = how.ProjectionExpression?.split(', ');
      Responses[name] = items.map((item) =>
        names === undefined ? { ...item } : pick(item, names),
      );
      const left = Keys.slice(done);
      if (left.length > 0) UnprocessedKeys[name] = { Keys: left, ...how };
    }
    return { $metadata: {}, Responses, UnprocessedKeys };
  }

  transactGetItems({ TransactItems = [], ...others }: TransactGetItemsCommandInput) {
    knowsOnly(others, []);
    if (TransactItems.length > writesMax) throw serviceError('ValidationException', 400);
    const Responses = TransactItems.map(({ Get }) => {
      const Item = this.#table(Get?.TableName).get(Get?.Key ?? {});
      return Item === undefined ? {} : { Item: { ...Item } };
    });
    return { $metadata: {}, Responses };
  }

  query(request: QueryCommandInput) {
    knowsOnly(request, [
      ...['TableName', 'KeyConditionExpression', 'FilterExpression', 'ExpressionAttributeNames'],
      ...['ExpressionAttributeValues', 'ConsistentRead', 'ExclusiveStartKey', 'Limit'],
      'ProjectionExpression',
    ]);
    const table = this.#table(request.TableName);
    const values = request.ExpressionAttributeValues;
    const matches = keyConditions[request.KeyConditionExpression ?? ''];
    const passes = filters[request.FilterExpression ?? ''] ?? (() => true);
    if (matches === undefined) throw unknownToSimulation(String(request.KeyConditionExpression));
    if (request.FilterExpression !== undefined && !(request.FilterExpression in filters)) {
      throw unknownToSimulation(request.FilterExpression);
    }
    const partition = values?.[':id']?.S ?? values?.[':date']?.S ?? '';
    const { sort } = table.keys;
    const start = request.ExclusiveStartKey?.[sort]?.S;
    const found = table
      .partition(partition)
      .filter((item) => matches(item[sort]?.S ?? '', values))
      .filter((item) => start === undefined || compareUtf8(item[sort]?.S ?? '', start) > 0);
    const page = found.slice(0, request.Limit ?? this.pageItems);
    const last = page.at(-1);
    // Another page follows a full one, even if it is empty.
    const isFull = page.length === (request.Limit ?? this.pageItems);
    const projection = request.ProjectionExpression;
    if (projection !== undefined && projection !== sort) throw unknownToSimulation(projection);
    const Items = page
      .filter((item) => passes(item, values))
      .map((item) => (projection === undefined ? { ...item } : pick(item, [projection])));
    return {
      $metadata: {},
      Items,
      ...(isFull && last !== undefined && { LastEvaluatedKey: table.keyOf(last) }),
    };
  }

  /** `obstructed`: the writes with a conflict or a throttle, and the code for each. */
  transactWriteItems(
    request: TransactWriteItemsCommandInput,
    obstructed: ReadonlyMap<number, string> = new Map(),
  ) {
    knowsOnly(request, ['TransactItems', 'ClientRequestToken']);
    const writes = request.TransactItems ?? [];
    this.#checkWrites(writes);
    const token = request.ClientRequestToken ?? '';
    const earlier = this.#tokens.get(token);
    if (earlier !== undefined && this.#now() - earlier.at < tokenMs) {
      if (isDeepStrictEqual(earlier.writes, writes)) return { $metadata: {} };
      const message = 'The provided client request token was already used';
      throw new IdempotentParameterMismatchException({ message, $metadata, Message: message });
    }
    const reasons = writes.map((write, at) => this.#reason(write, obstructed.get(at)));
    if (reasons.some(({ Code }) => Code !== 'None')) {
      const codes = reasons.map(({ Code }) => Code).join(', ');
      throw new TransactionCanceledException({
        $metadata,
        message: `Transaction cancelled, please refer cancellation reasons for specific reasons [${codes}]`,
        CancellationReasons: reasons,
      });
    }
    for (const write of writes) this.#write(write);
    this.#tokens.set(token, { writes, at: this.#now() });
    return { $metadata: {} };
  }

  #checkWrites(writes: readonly TransactWriteItem[]): void {
    if (writes.length === 0 || writes.length > writesMax) {
      throw serviceError('ValidationException', 400, `${writes.length} writes`);
    }
    const keys = new Set<string>();
    for (const write of writes) {
      const { table, key } = this.#target(write);
      keys.add(`${[...this.tables.values()].indexOf(table)} ${JSON.stringify(table.keyOf(key))}`);
    }
    if (keys.size === writes.length) return;
    const message = 'Transaction request cannot include multiple operations on one item';
    throw serviceError('ValidationException', 400, message);
  }

  #reason(write: TransactWriteItem, obstructed: string | undefined): CancellationReason {
    const { table, key } = this.#target(write);
    const { ConditionExpression, ExpressionAttributeValues } =
      write.Put ?? write.Update ?? write.Delete ?? write.ConditionCheck ?? {};
    const old = table.get(key);
    if (!holds(ConditionExpression, old, ExpressionAttributeValues)) {
      const isAsked = write.Update?.ReturnValuesOnConditionCheckFailure === 'ALL_OLD';
      const Message = 'The conditional request failed';
      const Item = isAsked && old !== undefined ? { Item: { ...old } } : {};
      return { Code: 'ConditionalCheckFailed', Message, ...Item };
    }
    if (obstructed !== undefined) return { Code: obstructed, Message: 'obstructed' };
    const count = table.get(key)?.['count'];
    if (write.Update === undefined || count === undefined || count.N !== undefined) {
      return { Code: 'None' };
    }
    const Message = 'An operand in the update expression has an incorrect data type';
    return { Code: 'ValidationError', Message };
  }

  #target(write: TransactWriteItem): { table: SimulatedTable; key: Item } {
    const { Put, Update, Delete, ConditionCheck, ...others } = write;
    knowsOnly(others, []);
    const keyed = Delete ?? ConditionCheck;
    if (keyed !== undefined) {
      knowsOnly(keyed, ['TableName', 'Key', 'ConditionExpression', 'ExpressionAttributeValues']);
      return { table: this.#table(keyed.TableName), key: keyed.Key ?? {} };
    }
    if (Put !== undefined) {
      knowsOnly(Put, ['TableName', 'Item', 'ConditionExpression']);
      return { table: this.#table(Put.TableName), key: Put.Item ?? {} };
    }
    if (!((Update?.UpdateExpression ?? '') in updates)) throw unknownToSimulation('this update');
    return { table: this.#table(Update?.TableName), key: Update?.Key ?? {} };
  }

  #write({ Put, Update, Delete }: TransactWriteItem): void {
    if (Delete !== undefined) this.#table(Delete.TableName).delete(Delete.Key ?? {});
    if (Put !== undefined) this.#table(Put.TableName).put(Put.Item ?? {});
    if (Update === undefined) return;
    const table = this.#table(Update.TableName);
    const old = table.get(Update.Key ?? {}) ?? {};
    const change = updates[Update.UpdateExpression ?? ''];
    if (change === undefined) throw unknownToSimulation('this update');
    table.put({ ...change(old, Update.ExpressionAttributeValues), ...Update.Key });
  }

  #table(name: string | undefined): SimulatedTable {
    const table = this.tables.get(name ?? '');
    if (table === undefined) throw serviceError('ResourceNotFoundException', 400);
    return table;
  }
}

function pick(item: Item, names: readonly string[]): Item {
  return Object.fromEntries(Object.entries(item).filter(([name]) => names.includes(name)));
}

function holds(condition: string | undefined, old: Item | undefined, values: Values): boolean {
  if (condition === undefined) return true;
  if (isInNone.test(condition)) {
    const names = condition.match(/:n\d+/g) ?? [];
    return names.every((name) => !hasNumber(old, 'numbers', valueOf(values, name)));
  }
  const test = conditions[condition];
  if (test === undefined) throw unknownToSimulation(`the condition ${condition}`);
  return test(old, values);
}

/** Items by their keys, in the order of UTF-8 bytes within a partition. */
export class SimulatedTable {
  readonly keys: TableKeys;
  writtenLast: Item | undefined;
  readonly #partitions = new Map<string, Map<string, Item>>();

  constructor(keys: TableKeys) {
    this.keys = keys;
  }

  get(key: Item): Item | undefined {
    const { partition, sort } = this.#names(key);
    return this.#partitions.get(partition)?.get(sort);
  }

  put(item: Item): void {
    const { partition, sort } = this.#names(item);
    let rows = this.#partitions.get(partition);
    if (rows === undefined) this.#partitions.set(partition, (rows = new Map<string, Item>()));
    rows.set(sort, item);
    this.writtenLast = item;
  }

  delete(key: Item): void {
    const { partition, sort } = this.#names(key);
    this.#partitions.get(partition)?.delete(sort);
  }

  partition(name: string): Item[] {
    const rows = [...(this.#partitions.get(name) ?? [])];
    return rows.sort(([a], [b]) => compareUtf8(a, b)).map(([, item]) => item);
  }

  items(): Item[] {
    return [...this.#partitions.values()].flatMap((rows) => [...rows.values()]);
  }

  keyOf(item: Item): Item {
    const { partition, sort } = this.#names(item);
    return { [this.keys.partition]: { S: partition }, [this.keys.sort]: { S: sort } };
  }

  #names(item: Item): { partition: string; sort: string } {
    const partition = item[this.keys.partition]?.S;
    const sort = item[this.keys.sort]?.S;
    if (partition === undefined || sort === undefined) {
      throw serviceError('ValidationException', 400, 'an item without its keys');
    }
    return { partition, sort };
  }
}
