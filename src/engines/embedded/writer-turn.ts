import type { IngestOutcome } from '../../pipeline/ports.ts';
import { refusal } from './refusals.ts';
import type { OtherOutcomes, RingConsumer } from './submission-ring.ts';
import type { Writer } from './writer.ts';

/**
 * One turn covers so many bytes, so that clients are answered and send on while the next are
 * read;
 */
const turnBytesMax = 1024 * 1024;
/** and so many items: what is parsed of them is held until the sync. */
const turnItemsMax = 20_000;

/**
 * Takes what waits in the ring, as much as one sync is to cover, and makes it durable. The
 * verdicts stand in the ring then, but for those that are returned.
 */
export async function takeTurn(
  writer: Writer,
  ring: RingConsumer,
  onDefect: (error: unknown) => IngestOutcome,
): Promise<OtherOutcomes> {
  const first = ring.taken;
  const { through, others } = takePlainOnes(writer, ring);
  const outcomes = await Promise.all(
    others.map((number) => writer.ingest(ring.submission(number)).catch(onDefect)),
  );
  const isDurable = writer.commit();
  ring.take(through);
  const told = others.map((number, index) => [number, outcomes[index] ?? lost] as const);
  if (isDurable) return told;
  const known = new Set(others);
  for (let number = first; number < through; number++) {
    if (known.has(number)) continue;
    ring.writeOther(number);
    told.push([number, lost]);
  }
  return told;
}

const lost = refusal('storage_failed');

/**
 * Stages the submissions that need no more than the scanner. Those that do come after them in the
 * log, whatever their order in the ring: the counters can so take each kind at one go.
 */
function takePlainOnes(writer: Writer, ring: RingConsumer) {
  const available = ring.taken + ring.waiting;
  const others: number[] = [];
  let [bytes, items] = [0, 0];
  let through = ring.taken;
  for (; through < available && bytes < turnBytesMax && items < turnItemsMax; through++) {
    const length = ring.bodyBytes(through);
    bytes += length;
    const verdict = ring.isPlain(through)
      ? writer.takePlain(ring.bytes, ring.bodyAt(through), length)
      : undefined;
    if (verdict === undefined) {
      others.push(through);
      ring.writeOther(through);
    } else {
      items += verdict.enqueued;
      ring.writeAccepted(through, verdict);
    }
  }
  return { through, others };
}
