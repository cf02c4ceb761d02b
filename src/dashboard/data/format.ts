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
  return `${durationText(Math.max(0, (now - time) / 1000))} ago`;
}

/** `8 s`, `12 min`, `3 h`, `a day`, `4 days`. */
export function durationText(seconds: number): string {
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min`;
  if (whole < 86_400) return `${Math.floor(whole / 3600)} h`;
  const days = Math.floor(whole / 86_400);
  return days === 1 ? 'a day' : `${days} days`;
}
