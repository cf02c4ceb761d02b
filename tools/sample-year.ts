/** An item of `POST /ingest`. */
export interface SampleItem {
  readonly type: string;
  readonly state: string;
  readonly timestamp: string;
}

/** The percentage of devices of each type. */
const types = {
  laptop: 30,
  phone: 22,
  'hard drive': 14,
  SSD: 10,
  desktop: 10,
  tablet: 8,
  server: 4,
  printer: 2,
};
/** The share of the devices that pass through each state. */
const states = {
  received: 1,
  erased: 0.95,
  'erasure failed': 0.025,
  tested: 0.92,
  'test failed': 0.03,
  shipped: 0.88,
};
/** How much more often the erasure of a type fails in the bad week. */
const badFactors: Readonly<Record<string, number>> = { SSD: 9, 'hard drive': 5 };
const dayMs = 86_400_000;

export interface SampleYear {
  /** The last day, YYYY-MM-DD. */
  readonly today: string;
  readonly days: number;
  readonly devicesPerDay: number;
  /** How many days before today the bad week ends; it takes seven days. */
  readonly badWeekEnded: number;
}

/**
 * The events of a line that receives, erases, tests and ships devices: few at weekends, a little more
 * each month, and one week in which the erasure of drives fails. Yields the items of one day after the
 * other; the same for the same arguments.
 */
export function* sampleYear(year: SampleYear): Generator<SampleItem[]> {
  let seed = 7;
  const random = () => (seed = (seed * 48271) % 2147483647) / 2147483647;
  for (let back = year.days - 1; back >= 0; back--) {
    const time = Date.parse(`${year.today}T09:00:00Z`) - back * dayMs;
    const isWeekend = new Date(time).getUTCDay() % 6 === 0;
    const growth = 1 + (year.days - back) / (4 * year.days);
    const isBad = back >= year.badWeekEnded && back < year.badWeekEnded + 7;
    const swing = (0.9 + random() * 0.2) * (back === 0 ? 0.4 : 1);
    const devices = year.devicesPerDay * growth * swing * (isWeekend ? 0.15 : 1);
    yield Object.entries(types).flatMap(([type, percent]) =>
      Object.entries(states).flatMap(([state, share]) => {
        const factor = isBad && state === 'erasure failed' ? (badFactors[type] ?? 1) : 1;
        const expected = devices * (percent / 100) * share * factor;
        const noise = (random() + random() + random() - 1.5) * Math.sqrt(expected) * 2;
        const count = Math.max(0, Math.round(expected + noise));
        const timestamp = new Date(time).toISOString();
        return Array.from({ length: count }, () => ({ type, state, timestamp }));
      }),
    );
  }
}
