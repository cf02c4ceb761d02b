/** A number with thousands separators, as texts for people show it: `1,234`. */
export function withThousands(number: number): string {
  return number.toLocaleString('en-US');
}
