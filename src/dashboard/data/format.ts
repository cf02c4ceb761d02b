const whole = new Intl.NumberFormat('en');
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumFractionDigits: 1 });
const percent = new Intl.NumberFormat('en', { style: 'percent', maximumFractionDigits: 2 });
const tenths = new Intl.NumberFormat('en', { style: 'percent', minimumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat('en', { style: 'percent', minimumFractionDigits: 2 });

export const wholeText = (value: number) => whole.format(value);
/** With a decimal where the number is small. */
export const averageText = (value: number) =>
  whole.format(value < 99.5 ? Math.round(value * 10) / 10 : Math.round(value));
export const compactText = (value: number) => compact.format(value);

/**
 * `part` of `all` in percent: with one decimal, with two if one would show 0, and without for 0 and
 * 100. A dash if `all` is 0.
 */
export function shareText(part: number, all: number): string {
  if (all === 0) return '–';
  if (part === 0 || part === all) return percent.format(part / all);
  const share = part / all;
  if (share < 0.00005) return '<0.01%';
  return share >= 0.9995 ? '>99.9%' : (share < 0.00095 ? hundredths : tenths).format(share);
}

/** A value of an axis, with as few decimals as possible. */
export const tickText = (share: number) => percent.format(share);

/** A rate with the digits for a sentence: 3.0%, 0.8%, 12%. */
export function rateText(rate: number): string {
  const digits = rate < 0.001 ? 2 : rate < 0.0995 ? 1 : 0;
  return rate === 0 ? '0%' : `${(rate * 100).toFixed(digits)}%`;
}

/** Shortens a name. U+2068 and U+2069 isolate the direction of its text. */
export function shortName(name: string): string {
  const characters = Array.from(name);
  const text = characters.length > 40 ? `${characters.slice(0, 39).join('')}…` : name;
  return `\u2068${text}\u2069`;
}

/** A difference of shares in percentage points. */
export function pointsText(now: number, before: number): string {
  const points = (now - before) * 100;
  const text = Math.abs(points).toFixed(Math.abs(points) < 9.95 ? 1 : 0);
  if (Number(text) === 0) return '±0';
  return `${points > 0 ? '+' : '−'}${text}`;
}

/** The change from the previous range; without a percentage if that had no events. */
export function changeText(now: number, before: number): string {
  if (now === before) return 'No change';
  if (before === 0) return 'New: none before';
  const size = (Math.abs(now - before) / before) * 100;
  const digits = size < 10 ? 1 : 0;
  const text =
    size < 0.05
      ? size.toLocaleString('en', { maximumSignificantDigits: 1 })
      : Number(size.toFixed(digits)).toLocaleString('en');
  return `${now > before ? '+' : '−'}${text}%`;
}

/** How long ago it was, in the largest unit that fits. */
export function agoText(time: number, now: number): string {
  return `${durationText(Math.max(0, (now - time) / 1000))} ago`;
}

/** `a week`, `5 weeks`. */
export function weeksText(weeks: number): string {
  return weeks === 1 ? 'a week' : `${weeks} weeks`;
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
