import { rowFormats, statsFormats, type StatsFormat } from '../../pipeline/stats-formats.ts';

interface Preference {
  readonly value: string;
  /** From 0, not at all, to 1. */
  readonly weight: number;
}

/** The members of `Accept` or `Accept-Encoding`, in lower case, without parameters but the weight. */
function readPreferences(header: string): Preference[] {
  return header.split(',').flatMap((member) => {
    const [value = '', ...parameters] = member.split(';').map((part) => part.trim().toLowerCase());
    if (value === '') return [];
    const weight = parameters.find((parameter) => /^q\s*=/.test(parameter));
    const number = weight === undefined ? 1 : Number(weight.slice(weight.indexOf('=') + 1));
    return [{ value, weight: number >= 0 && number <= 1 ? number : 0 }];
  });
}

/**
 * The format that `Accept` asks for: the one with the greatest weight; among equals one that is named
 * before one that is only allowed, then the first of `rowFormats`. JSON where it admits none, as the
 * `Accept` of browsers does.
 * Source: RFC 9110, 12.5.1.
 */
export function formatOfAccept(header: string | undefined): StatsFormat {
  const preferences = readPreferences(header ?? '');
  let best: { format: StatsFormat; weight: number; precision: number } | undefined;
  for (const format of statsFormats) {
    const [precision, weight] = ratingOf(rowFormats[format].accepted, preferences);
    if (weight === 0) continue;
    const isBetter =
      best === undefined ||
      weight > best.weight ||
      (weight === best.weight && precision > best.precision);
    if (isBetter) best = { format, weight, precision };
  }
  return best?.format ?? 'json';
}

/** Whether `Accept` names OpenMetrics, and wants nothing else that there is more. */
export function prefersOpenMetrics(header: string | undefined): boolean {
  const preferences = readPreferences(header ?? '');
  const [precision, weight] = ratingOf(['application/openmetrics-text'], preferences);
  const [, plainWeight] = ratingOf(['text/plain'], preferences);
  return precision === 2 && weight > 0 && weight >= plainWeight;
}

/** How precisely a type is named (2: itself, 1: of its kind, 0: any), and its weight. */
function ratingOf(
  types: readonly string[],
  preferences: readonly Preference[],
): readonly [precision: number, weight: number] {
  const kinds = types.map((type) => `${type.slice(0, type.indexOf('/'))}/*`);
  const named: readonly (readonly string[])[] = [['*/*'], kinds, types];
  for (const precision of [2, 1, 0]) {
    const names = named[precision] ?? [];
    const weights = preferences
      .filter(({ value }) => names.includes(value))
      .map(({ weight }) => weight);
    if (weights.length > 0) return [precision, Math.max(...weights)];
  }
  return [0, 0];
}

/** Whether `Accept-Encoding` names a coding, and not as one that is not wanted. */
export function namesCoding(header: string | undefined, coding: string): boolean {
  return readPreferences(header ?? '').some(({ value, weight }) => value === coding && weight > 0);
}

/** Whether `Accept-Encoding` would rather have gzip, or as gladly. Source: RFC 9110, 12.5.3. */
export function acceptsGzip(header: string | undefined): boolean {
  const weights = new Map(
    readPreferences(header ?? '').map(({ value, weight }) => [value, weight] as const),
  );
  const gzip = weights.get('gzip') ?? weights.get('x-gzip') ?? weights.get('*') ?? 0;
  const identity = weights.get('identity') ?? 0;
  return gzip > 0 && gzip >= identity;
}

/** The tags of `If-None-Match`, compared weakly (RFC 9110, 13.1.2); none where it is missing. */
export function readIfNoneMatch(header: string | undefined): readonly string[] | 'any' {
  if (header === undefined) return [];
  if (header.trim() === '*') return 'any';
  return [...header.matchAll(/(?:W\/)?"([^"]*)"/g)].map(([, tag = '']) => tag);
}
