const quote = 0x22;
const backslash = 0x5c;

/**
 * Whether a JSON text is nested deeper than `depthMax`, ignoring brackets in strings. The text need
 * not be valid JSON; a parser checks that afterwards.
 */
export function isNestedDeeperThan(text: Uint8Array, depthMax: number): boolean {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const byte = text[at] as number;
    if (byte === quote) {
      at = endOfString(text, at);
    } else if ((byte | 0x20) === 0x7b) {
      // `[` or `{`: they differ only in the bit 0x20, as `]` and `}` do.
      if (++depth > depthMax) return true;
    } else if ((byte | 0x20) === 0x7d) {
      depth--;
    }
  }
  return false;
}

function endOfString(text: Uint8Array, start: number): number {
  for (let at = start + 1; at < text.length; at++) {
    const byte = text[at];
    if (byte === quote) return at;
    if (byte === backslash) at++;
  }
  return text.length;
}
