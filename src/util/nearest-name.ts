/** The name among `known` with the fewest edits from `name`, if these are at most `editsMax`. */
export function nearestName(
  name: string,
  known: readonly string[],
  editsMax: (candidate: string) => number,
): string | undefined {
  const [nearest] = known
    .map((candidate) => ({ candidate, edits: editsBetween(name, candidate) }))
    .filter(({ candidate, edits }) => edits <= editsMax(candidate))
    .sort((a, b) => a.edits - b.edits);
  return nearest?.candidate;
}

/** The Damerau–Levenshtein distance (optimal string alignment). */
function editsBetween(from: string, to: string): number {
  const rows: number[][] = [];
  const at = (row: number, column: number) => rows[row]?.[column] ?? Number.POSITIVE_INFINITY;
  for (let row = 0; row <= from.length; row++) {
    rows.push([]);
    for (let column = 0; column <= to.length; column++) {
      const isSame = from[row - 1] === to[column - 1];
      const isSwapped = from[row - 1] === to[column - 2] && from[row - 2] === to[column - 1];
      const fewest = Math.min(
        at(row - 1, column) + 1,
        at(row, column - 1) + 1,
        at(row - 1, column - 1) + (isSame ? 0 : 1),
        isSwapped ? at(row - 2, column - 2) + 1 : Number.POSITIVE_INFINITY,
      );
      rows[row]?.push(row + column === 0 ? 0 : fewest);
    }
  }
  return at(from.length, to.length);
}
