import { nearestName } from '../src/util/nearest-name.ts';

/** The message that there is no setting or prop of this name, with the one that was probably meant. */
export function unknownName(
  kind: 'setting' | 'prop',
  name: string,
  known: readonly string[],
): string {
  const lower = known.map((each) => each.toLowerCase());
  const found = nearestName(name.toLowerCase(), lower, ({ length }) => length / 2);
  const nearest = known.find((each) => each.toLowerCase() === found);
  if (nearest !== undefined) return `There is no ${kind} ${name}; did you mean ${nearest}?`;
  return `There is no ${kind} ${name}. The ${kind}s are ${known.join(', ')}.`;
}
