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
  { light: '#c06a9c', dark: '#de93bd' },
  { light: '#3b6fd4', dark: '#6f9bf2' },
  { light: '#8c6d4f', dark: '#b8967a' },
] as const;
/** The first is also the colour of the sum of all failures. */
const failures = [
  { light: '#d1495b', dark: '#f0707f' },
  { light: '#8f2136', dark: '#b8434f' },
  { light: '#f0938c', dark: '#ffb3ab' },
] as const;
const others = { light: '#a9b0bd', dark: '#6b7384' };

export type Scheme = 'light' | 'dark';

/**
 * Assigns a colour to each name while there are colours. Failures get a red one if one is free; other
 * names get the colour of their hash, or the next free one.
 */
export function coloursOf(
  names: readonly string[],
  isFailing: (name: string) => boolean,
  scheme: Scheme,
): Map<string, string> {
  const colours = new Map<string, string>();
  const reds = failures.values();
  const taken = new Set<number>();
  for (const name of [...names].sort()) {
    const red = isFailing(name) ? reds.next().value : undefined;
    if (red !== undefined) {
      colours.set(name, red[scheme]);
      continue;
    }
    let index = hash(name) % palette.length;
    while (taken.has(index) && taken.size < palette.length) index = (index + 1) % palette.length;
    taken.add(index);
    colours.set(name, (palette[index] ?? palette[0])[scheme]);
  }
  return colours;
}

export function colourOfOthers(scheme: Scheme): string {
  return others[scheme];
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
