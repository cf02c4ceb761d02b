import { connect } from 'amqplib';

import { rowsOfIncrements } from '../../../src/domain/counter.ts';
import type { Store } from '../front.ts';

/**
 * Each body is a message of a quorum queue, and the sums of a write are a message of another one,
 * which a consumer adds up. A write is done when RabbitMQ has confirmed all its messages.
 */
export async function openRabbitMq(address: string): Promise<Store> {
  const connection = await connect(address);
  const channel = await connection.createConfirmChannel();
  for (const name of ['raw', 'sums']) {
    await channel.assertQueue(name, { durable: true, arguments: { 'x-queue-type': 'quorum' } });
  }
  const consuming = await connection.createChannel();
  let counted = 0;
  await consuming.prefetch(256);
  await consuming.consume('sums', (message) => {
    if (message === null) return;
    const rows = JSON.parse(message.content.toString()) as { count: number }[];
    for (const { count } of rows) counted += count;
    consuming.ack(message);
  });
  return {
    async write(bodies, tally) {
      for (const body of bodies) channel.sendToQueue('raw', body, { persistent: true });
      const sums = Buffer.from(JSON.stringify([...rowsOfIncrements(tally)]));
      channel.sendToQueue('sums', sums, { persistent: true });
      await channel.waitForConfirms();
    },
    countedItems: () => Promise.resolve(counted),
    close: () => connection.close(),
  };
}
