import cliProgress from 'cli-progress';

import type { ProgressUnit } from '../../pipeline/store-admin.ts';
import { amountOf, withThousands } from '../../util/thousands.ts';

/** Shows on stderr how much of a task is done. */
export interface Progress {
  readonly update: (value: number, note: string) => void;
  readonly stop: () => void;
}

const plainLineMs = 5_000;

/** A bar on a terminal if the total is known; otherwise a plain line at most every five seconds. */
export function openProgress(total: number | undefined): Progress {
  const { stderr } = process;
  if (stderr.isTTY && total !== undefined && total > 0) {
    const format = '{bar} {percentage}%  {note}  {eta_formatted} left';
    const bar = new cliProgress.SingleBar(
      { format, stream: stderr, gracefulExit: false, etaBuffer: 50 },
      cliProgress.Presets.shades_classic,
    );
    bar.start(total, 0, { note: '' });
    return { update: (value, note) => bar.update(value, { note }), stop: () => bar.stop() };
  }
  let printedAt = performance.now();
  const update = (value: number, note: string) => {
    if (performance.now() - printedAt < plainLineMs) return;
    printedAt = performance.now();
    stderr.write(`${total ? `${Math.floor((100 * value) / total)}%  ` : ''}${note}\n`);
  };
  return { update, stop: () => undefined };
}

/** The progress of reading or copying a store, whose size the first update gives. */
export class StoreProgress {
  readonly #verb: string;
  #progress: Progress | undefined;

  constructor(verb = 'read') {
    this.#verb = verb;
  }

  update(done: number, total: number, unit: ProgressUnit): void {
    this.#progress ??= openProgress(total);
    const amount =
      unit === 'bytes'
        ? `${withThousands(Math.round(done / 1024 ** 2))} MiB`
        : amountOf(done, 'body');
    this.#progress.update(done, `${amount} ${this.#verb}`);
  }

  stop(): void {
    this.#progress?.stop();
  }
}
