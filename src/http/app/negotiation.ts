import { rowFormats, statsFormats, type StatsFormat } from '../../pipeline/stats-formats.ts';

/** A request header, if the request has it. */
type HeaderValue = string | null | undefined;

interface Preference {
  readonly value: string;
  /** From 0 (not acceptable) to 1. */
  readonly weight: number;
}

/** The members of `Accept` or `Accept-Encoding` in lower case, with their weights. */
function readPreferences(header: HeaderValue): Preference[] {
  return (header ?? '').split(',').flatMap((member) => {
    const [value = '', ...parameters] = member.split(';').map((part) => part.trim().toLowerCase());
    if (value === '') return [];
    const weight = parameters.find((parameter) => /^q\s*=/.test(parameter));
    const number = weight === undefined ? 1 : Number(weight.slice(weight.indexOf('=') + 1));
    return [{ value, weight: number >= 0 && number <= 1 ? number : 0 }];
  });
}

/**
 * The format that `Accept` prefers: the one with the greatest weight; among equals, one that is
 * named exactly over a wildcard, then the first of `rowFormats`. JSON if none is acceptable, as for browsers.
 * Source: RFC 9110, 12.5.1.
 */
export function formatOfAccept(header: HeaderValue): StatsFormat {
  const preferences = readPreferences(header);
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

/** Whether `Accept` names OpenMetrics and does not prefer `text/plain` to it. */
export function prefersOpenMetrics(header: HeaderValue): boolean {
  const preferences = readPreferences(header);
  const [precision, weight] = ratingOf(['application/openmetrics-text'], preferences);
  const [, plainWeight] = ratingOf(['text/plain'], preferences);
  return precision === 2 && weight > 0 && weight >= plainWeight;
}

/** How precisely a type is named (2: exactly, 1: as `text/*`, 0: by a full wildcard), and its weight. */
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

/** Whether `Accept-Encoding` names a coding with a weight above 0. */
export function namesCoding(header: HeaderValue, coding: string): boolean {
  return readPreferences(header).some(({ value, weight }) => value === coding && weight > 0);
}

/** Whether `Accept-Encoding` weighs gzip at least as high as identity. Source: RFC 9110, 12.5.3. */
export function acceptsGzip(header: HeaderValue): boolean {
  const weights = new Map(
    readPreferences(header).map(({ value, weight }) => [value, weight] as const),
  );
  const gzip = weights.get('gzip') ?? weights.get('x-gzip') ?? weights.get('*') ?? 0;
  const identity = weights.get('identity') ?? 0;
  return gzip > 0 && gzip >= identity;
}

/** The tags of `If-None-Match`, without `W/` for weak comparison (RFC 9110, 13.1.2). */
export function readIfNoneMatch(header: HeaderValue): readonly string[] | 'any' {
  const text = header ?? '';
  if (text.trim() === '*') return 'any';
  return [...text.matchAll(/(?:W\/)?"([^"]*)"/g)].map(([, tag = '']) => tag);
}
