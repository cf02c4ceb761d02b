import type { CounterRow } from '../../src/domain/counter.ts';
import type { Dimension, StatsFormat } from '../../src/pipeline/stats/formats.ts';
import { Groups, StatsWriter } from '../../src/pipeline/stats/text.ts';

/** The text of a response whose rows come in pieces. */
export function statsText(
  format: StatsFormat,
  pieces: readonly (readonly CounterRow[])[],
  groupBy?: readonly Dimension[],
): string {
  const writer = new StatsWriter(groupBy, format);
  if (groupBy === undefined) {
    return (
      writer.opening() + pieces.map((piece) => writer.piece(piece)).join('') + writer.closing()
    );
  }
  const groups = new Groups(groupBy);
  for (const piece of pieces) groups.add(piece);
  return writer.opening() + writer.piece(groups.rows()) + writer.closing();
}
