const whole = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 2 });

export const wholeText = (value: number) => whole.format(value);
export const compactText = (value: number) => compact.format(value);

/** `part` of `all` in percent; a dash if `all` is 0. */
export function shareText(part: number, all: number): string {
  return all === 0 ? '–' : percent.format(part / all);
}

/** The change from the previous range; without a percentage if that had no events. */
export function changeText(now: number, before: number): string {
  if (now === before) return 'No change';
  if (before === 0) return 'New: none before';
  const size = (Math.abs(now - before) / before) * 100;
  const digits = size < 0.05 ? 2 : size < 10 ? 1 : 0;
  return `${now > before ? '+' : '−'}${Number(size.toFixed(digits)).toLocaleString('en')}%`;
}

/** How long ago it was, in the largest unit that fits. */
export function agoText(time: number, now: number): string {
  const seconds = Math.max(0, Math.round((now - time) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  const days = Math.floor(seconds / 86_400);
  return days === 1 ? 'a day ago' : `${days} days ago`;
}
