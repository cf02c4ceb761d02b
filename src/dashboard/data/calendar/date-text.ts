import { timeOf, type Day, type Range } from './days.ts';

/** Writes days as readers of a locale do, with the digits and the calendar of the API. */
export function dateTexts(locale: string) {
  const format = (options: Intl.DateTimeFormatOptions) =>
    new Intl.DateTimeFormat(locale, {
      ...options,
      timeZone: 'UTC',
      calendar: 'gregory',
      numberingSystem: 'latn',
    });
  const short = format({ day: 'numeric', month: 'short' });
  const long = format({ day: 'numeric', month: 'short', year: 'numeric' });
  const month = format({ month: 'short', year: 'numeric' });
  const named = format({ weekday: 'short', day: 'numeric', month: 'short' });
  return {
    short: (day: Day) => short.format(timeOf(day)),
    long: (day: Day) => long.format(timeOf(day)),
    month: (day: Day) => month.format(timeOf(day)),
    /** A day with its weekday. */
    named: (day: Day) => named.format(timeOf(day)),
    range: ({ from, to }: Range) =>
      from === to ? long.format(timeOf(from)) : rangeOf(long, from, to),
  };
}

/** Some locales write the days of a range in another form, such as with slashes in Japanese. */
function rangeOf(long: Intl.DateTimeFormat, from: Day, to: Day): string {
  const end = long.format(timeOf(to));
  const short = long.formatRange(timeOf(from), timeOf(to));
  const isSameForm = Array.from(end).every((character) => short.includes(character));
  return isSameForm ? short : `${long.format(timeOf(from))} – ${end}`;
}

/** The dates of the page, in the form of the reader's browser. */
const locale = knownLocale(navigator.language);
const texts = dateTexts(locale);
export const shortDay = texts.short;
export const longDay = texts.long;
export const monthText = texts.month;
export const namedDay = texts.named;
export const rangeText = texts.range;

const moments = new Intl.DateTimeFormat(locale, {
  dateStyle: 'medium',
  timeStyle: 'long',
  calendar: 'gregory',
  numberingSystem: 'latn',
});
/** A moment in the reader's time zone, with the name of the zone. */
export const momentText = (time: number) => moments.format(time);

/** Some browsers name a locale that is no language tag, such as `en-US@posix`. */
export function knownLocale(locale: string): string {
  try {
    return Intl.getCanonicalLocales(locale)[0] ?? 'en-GB';
  } catch {
    return 'en-GB';
  }
}
