/**
 * Distinguishable with any colour vision, on light and on dark: after Okabe and Ito, "Color Universal
 * Design". One for each named series.
 */
const palette = [
  { light: '#7a8f3c', dark: '#a3b865' },
  { light: '#2a9d8f', dark: '#4cc0b0' },
  { light: '#e0a100', dark: '#f0bf45' },
  { light: '#8a6fc9', dark: '#ab95e6' },
  { light: '#5bb5e8', dark: '#8bd0f7' },
  { light: '#34447c', dark: '#7f8fd0' },
  { light: '#3b6fd4', dark: '#6f9bf2' },
  { light: '#4f8a5b', dark: '#7fbf8c' },
] as const;
/** No other colour of the page is red. The first is also that of the sum of all failures. */
const failures = [
  { light: '#d1495b', dark: '#f0707f' },
  { light: '#8f2136', dark: '#b8434f' },
  { light: '#f0938c', dark: '#ffb3ab' },
] as const;
const otherFailures = { light: '#dbb0b4', dark: '#84505a' };
const others = { light: '#a9b0bd', dark: '#6b7384' };

export type Scheme = 'light' | 'dark';

/** A colour for each series: a red for failures, for others that of the hash of its name or the next free one. */
export function seriesColours(series: readonly Named[], scheme: Scheme): string[] {
  const colours = new Map<string, string>();
  const reds = failures.values();
  const taken = new Set<number>();
  const named = series.flatMap(({ name, isFailing }) =>
    name === undefined ? [] : { name, isFailing },
  );
  for (const { name, isFailing } of named.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const red = isFailing ? reds.next().value : undefined;
    if (red !== undefined) {
      colours.set(name, red[scheme]);
      continue;
    }
    let index = hash(name) % palette.length;
    while (taken.has(index) && taken.size < palette.length) index = (index + 1) % palette.length;
    taken.add(index);
    colours.set(name, (palette[index] ?? palette[0])[scheme]);
  }
  const rest = ({ isFailing }: Named) => (isFailing ? otherFailures : others)[scheme];
  return series.map((one) => colours.get(one.name ?? '') ?? rest(one));
}

interface Named {
  /** Undefined: several names. */
  readonly name: string | undefined;
  readonly isFailing: boolean;
}

export function colourOfFailures(scheme: Scheme): string {
  return failures[0][scheme];
}

/** FNV-1a. */
function hash(text: string): number {
  let state = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(text)) {
    state = Math.imul(state ^ byte, 0x01000193) >>> 0;
  }
  return state;
}
