import { median } from './figures.ts';
import { untilAccepted, whileServing, type Served } from './serve.ts';
import { bodiesOver, type CounterSpace } from './traffic.ts';

export interface Restart {
  readonly listeningMs: number;
  /** Also since the process was spawned. */
  readonly first200Ms: number;
  readonly residentMiB: number;
}

/** When the server accepted one item. */
export async function first200(served: Served, space: CounterSpace): Promise<number> {
  const [body = ''] = bodiesOver(space, 1, 1);
  await untilAccepted(served.url, body);
  return performance.now() - served.spawnedAt;
}

/** Starts `serve` on the directory several times; each start accepts one more item. */
export async function restarts(
  dataDir: string,
  space: CounterSpace,
  times: number,
  before: () => void = () => undefined,
): Promise<Restart> {
  const all: Restart[] = [];
  for (let time = 0; time < times; time++) {
    before();
    const restart = await whileServing({ dataDir }, async (served) => ({
      listeningMs: served.listeningMs,
      first200Ms: await first200(served, space),
      residentMiB: served.residentMiB(),
    }));
    all.push(restart);
  }
  return {
    listeningMs: median(all.map((each) => each.listeningMs)),
    first200Ms: median(all.map((each) => each.first200Ms)),
    residentMiB: median(all.map((each) => each.residentMiB)),
  };
}
