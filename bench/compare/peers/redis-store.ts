import { createClient } from '@redis/client';

import { rowsOfIncrements } from '../../../src/domain/counter.ts';
import type { Store } from '../front.ts';

/** One MULTI adds the bodies to a stream and to the counters of a hash. */
export async function openRedis(path: string): Promise<Store> {
  const client = createClient({ socket: { path, tls: false } });
  client.on('error', (error: unknown) => {
    throw error;
  });
  await client.connect();
  return {
    async write(bodies, tally) {
      const transaction = client.multi();
      for (const body of bodies) transaction.xAdd('raw', '*', { body });
      for (const { date, type, state, count } of rowsOfIncrements(tally)) {
        transaction.hIncrBy('counters', `${date}\u0000${type}\u0000${state}`, count);
      }
      await transaction.exec();
    },
    async countedItems() {
      const counts = await client.hVals('counters');
      return counts.reduce((sum, count) => sum + Number(count), 0);
    },
    close: () => client.close(),
  };
}
