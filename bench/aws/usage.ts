import { priceTable, type PriceName } from '../prices.ts';

/** What is billed by request. */
export const requestServices = ['API Gateway', 'Lambda', 'S3', 'SQS', 'DynamoDB'] as const;
/** What is billed beside the requests. */
export const besideServices = ['Logs', 'Traces', 'Storage'] as const;
const services = [...requestServices, ...besideServices] as const;
export type ServiceName = (typeof services)[number];

/** What was used of one thing that has a price. */
export interface UsageLine {
  readonly service: ServiceName;
  /** Who used it, and for what: `process TransactWriteItems`. */
  readonly what: string;
  readonly price: PriceName;
  readonly units: number;
}

/** Adds up what is used. */
export class Usage {
  readonly #lines = new Map<string, UsageLine>();

  add(service: ServiceName, what: string, price: PriceName, units: number): void {
    const key = `${service} ${what} ${price}`;
    const before = this.#lines.get(key)?.units ?? 0;
    this.#lines.set(key, { service, what, price, units: before + units });
  }

  /** By service, then by use. */
  lines(): UsageLine[] {
    const order = (line: UsageLine) => `${services.indexOf(line.service)} ${line.what}`;
    return [...this.#lines.values()].sort((a, b) => (order(a) < order(b) ? -1 : 1));
  }
}

export type Dollars = Readonly<Record<ServiceName | 'total', number>>;

/** What the lines cost, by service. */
export function dollarsOf(lines: readonly UsageLine[], perEvents = 1): Dollars {
  const cost = (wanted: readonly UsageLine[]) =>
    wanted.reduce((sum, { price, units }) => sum + priceTable.units[price] * units, 0) / perEvents;
  const entries = services.map((service) => [
    service,
    cost(lines.filter((line) => line.service === service)),
  ]);
  return { ...Object.fromEntries(entries), total: cost(lines) } as Dollars;
}
