/**
 * The known name that `name` probably means: the one with the smallest edit distance, ignoring case,
 * if that is at most half of its length.
 */
export function nearestName(name: string, known: readonly string[]): string | undefined {
  const [nearest] = known
    .map((candidate) => ({
      candidate,
      changes: changedCharacters(name.toLowerCase(), candidate.toLowerCase()),
    }))
    .filter(({ candidate, changes }) => changes <= candidate.length / 2)
    .sort((a, b) => a.changes - b.changes);
  return nearest?.candidate;
}

/** The Levenshtein distance: insertions, deletions and replacements. */
function changedCharacters(from: string, to: string): number {
  let row = Array.from({ length: to.length + 1 }, (_, index) => index);
  for (let i = 0; i < from.length; i += 1) {
    const next = [i + 1];
    for (let j = 0; j < to.length; j += 1) {
      const replaced = (row[j] ?? 0) + (from[i] === to[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row.at(-1) ?? 0;
}
