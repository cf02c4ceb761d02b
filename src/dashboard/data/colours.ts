/*
 * Colours are values of CSS, so that one drawing is right in the light and in the dark, and on paper.
 */

/**
 * Distinguishable with any colour vision, on light and on dark: after Okabe and Ito, "Color Universal
 * Design". One for each named series.
 */
const passing = [
  'light-dark(#7a8f3c, #a3b865)',
  'light-dark(#2a9d8f, #4cc0b0)',
  'light-dark(#e0a100, #f0bf45)',
  'light-dark(#8a6fc9, #ab95e6)',
  'light-dark(#5bb5e8, #8bd0f7)',
  'light-dark(#34447c, #7f8fd0)',
  'light-dark(#3b6fd4, #6f9bf2)',
  'light-dark(#4f8a5b, #7fbf8c)',
] as const;
/** No other colour of the page is red. The first is also the colour of the sum of all failures. */
const failures = [
  'light-dark(#d1495b, #f0707f)',
  'light-dark(#8f2136, #b8434f)',
  'light-dark(#f0938c, #ffb3ab)',
] as const;
/** The colours of types, if everything shown is a failure. */
const typesOfFailures = [
  'light-dark(#d1495b, #f0707f)',
  'light-dark(#7d1128, #a53245)',
  'light-dark(#f3a9a3, #ffc4be)',
  'light-dark(#b52f62, #e05c8c)',
  'light-dark(#e8743b, #f2935f)',
  'light-dark(#5b1a2b, #83283c)',
  'light-dark(#f7c8c4, #d9a49f)',
  'light-dark(#a0522d, #c9764f)',
] as const;
const otherFailures = 'light-dark(#dbb0b4, #84505a)';
const others = 'light-dark(#a9b0bd, #6b7384)';

/**
 * A colour for each series: a red for failures; for others, the colour that the hash of the name
 * selects, or the next free one. `areTypesOfFailures`: whether everything shown is a failure.
 */
export function seriesColours(series: readonly Named[], areTypesOfFailures = false): string[] {
  const palette = areTypesOfFailures ? typesOfFailures : passing;
  const colours = new Map<string, string>();
  const reds = failures.values();
  const taken = new Set<number>();
  const named = series.flatMap(({ name, isFailing }) =>
    name === undefined ? [] : { name, isFailing },
  );
  for (const { name, isFailing } of named.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const red = isFailing ? reds.next().value : undefined;
    if (red !== undefined) {
      colours.set(name, red);
      continue;
    }
    let index = hash(name) % palette.length;
    while (taken.has(index) && taken.size < palette.length) index = (index + 1) % palette.length;
    taken.add(index);
    colours.set(name, palette[index] ?? palette[0]);
  }
  const rest = ({ isFailing }: Named) => (isFailing || areTypesOfFailures ? otherFailures : others);
  return series.map((one) => colours.get(one.name ?? '') ?? rest(one));
}

interface Named {
  /** Undefined: several names. */
  readonly name: string | undefined;
  readonly isFailing: boolean;
}

export const colourOfFailures: string = failures[0];

/** FNV-1a. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  }
  return state;
}
