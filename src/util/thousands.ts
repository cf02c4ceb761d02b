/**
 * A number with thousands separators, as texts for people show it: `1,234`. `toLocaleString` would
 * load ICU's data, which takes 13 ms of the CPU time of a command.
 */
export function withThousands(number: number): string {
  return String(number).replaceAll(/(?<![.]\d*)\B(?=(?:\d{3})+(?!\d))/g, ',');
}

/** A number with its noun: `1 batch`, `1,234 batches`, `0 bodies`. */
export function amountOf(number: number, noun: string): string {
  if (number === 1) return `1 ${noun}`;
  const plural = noun.endsWith('ch') ? `${noun}es` : `${noun.replace(/(?<=[^aeo])y$/, 'ie')}s`;
  return `${withThousands(number)} ${plural}`;
}
