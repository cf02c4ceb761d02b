import { jetstream, jetstreamManager, StorageType } from '@nats-io/jetstream';
import { connect } from '@nats-io/transport-node';

import { rowsOfIncrements } from '../../../src/domain/counter.ts';
import type { Store } from '../front.ts';

/**
 * Each body is a message of one stream, and the sums of a write are a message of another, which a
 * consumer adds up. A write is done when JetStream has acknowledged all its messages.
 */
export async function openNats(address: string): Promise<Store> {
  const connection = await connect({ servers: address });
  const manager = await jetstreamManager(connection);
  for (const name of ['raw', 'sums']) {
    await manager.streams.add({ name, subjects: [name], storage: StorageType.File });
  }
  const stream = jetstream(connection);
  let counted = 0;
  const consumer = await stream.consumers.get('sums');
  await consumer.consume({
    callback: (message) => {
      for (const { count } of message.json<{ count: number }[]>()) counted += count;
    },
  });
  return {
    async write(bodies, tally) {
      const sums = JSON.stringify([...rowsOfIncrements(tally)]);
      await Promise.all([
        ...bodies.map((body) => stream.publish('raw', body)),
        stream.publish('sums', sums),
      ]);
    },
    countedItems: () => Promise.resolve(counted),
    close: () => connection.close(),
  };
}
