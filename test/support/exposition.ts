/** A sample of a scrape: its name with its labels, and its value. */
export interface Scraped {
  readonly families: ReadonlyMap<string, { readonly type: string; readonly help: string }>;
  /** By name and labels as they are written. */
  readonly samples: ReadonlyMap<string, number>;
  /** The names of the samples. */
  readonly names: ReadonlySet<string>;
}

const namePattern = '[a-zA-Z_:][a-zA-Z0-9_:]*';
const samplePattern = new RegExp(
  `^(${namePattern})(\\{(?:[a-zA-Z_]\\w*="(?:[^"\\\\\\n]|\\\\["\\\\n])*",?)*\\})? (\\S+)$`,
);

/**
 * Parses Prometheus' text format strictly: a HELP and a TYPE before the samples of each family, no
 * samples of other families among them, none twice, counters that end in `_total`, buckets that
 * never decrease and end with the count. Source: Prometheus, "Exposition formats".
 * @throws an Error that says which line is wrong.
 */
export function readExposition(text: string): Scraped {
  if (!text.endsWith('\n')) throw new Error('the last line does not end');
  const families = new Map<string, { type: string; help: string }>();
  const samples = new Map<string, number>();
  const names = new Set<string>();
  let family = '';
  let help: string | undefined;
  let bucket: { key: string; count: number } | undefined;
  for (const line of text.slice(0, -1).split('\n')) {
    const [, kind, name = '', rest = ''] =
      new RegExp(`^# (HELP|TYPE) (${namePattern}) (.+)$`).exec(line) ?? [];
    if (kind === 'HELP') {
      if (families.has(name)) throw new Error(`a second family ${name}`);
      [family, help] = [name, rest];
    } else if (kind === 'TYPE') {
      if (name !== family || help === undefined) throw new Error(`TYPE without HELP: ${line}`);
      if (!/^(counter|gauge|histogram|summary)$/.test(rest)) throw new Error(`type: ${line}`);
      if (rest === 'counter' && !name.endsWith('_total')) throw new Error(`counter ${name}`);
      families.set(name, { type: rest, help });
      help = undefined;
    } else {
      const [, sample = '', labels = '', value = ''] = samplePattern.exec(line) ?? [];
      const type = families.get(family)?.type;
      const suffix = type === 'histogram' ? '_(bucket|sum|count)' : '';
      if (!new RegExp(`^${family}${suffix}$`).test(sample)) throw new Error(`sample: ${line}`);
      const number = Number(value.replace('Inf', 'Infinity'));
      if (Number.isNaN(number) && value !== 'NaN') throw new Error(`value: ${line}`);
      if (samples.has(sample + labels)) throw new Error(`twice: ${line}`);
      if (sample.endsWith('_bucket') && type === 'histogram') {
        const key = family + labels.replace(/le="[^"]*"/, '');
        if (bucket?.key === key && number < bucket.count) throw new Error(`bucket falls: ${line}`);
        bucket = { key, count: number };
      }
      samples.set(sample + labels, number);
      names.add(sample);
    }
  }
  return { families, samples, names };
}
