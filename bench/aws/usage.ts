import { priceTable, type PriceName } from '../prices.ts';

/** Usage that is billed per request. */
export const requestServices = ['API Gateway', 'Lambda', 'S3', 'SQS', 'DynamoDB'] as const;
/** Usage that is billed besides the requests. */
export const besideServices = ['Logs', 'Traces', 'Storage'] as const;
const services = [...requestServices, ...besideServices] as const;
export type ServiceName = (typeof services)[number];

/** The usage of one priced item. */
export interface UsageLine {
  readonly service: ServiceName;
  /** The user and the purpose: `process TransactWriteItems`. */
  readonly what: string;
  readonly price: PriceName;
  readonly units: number;
}

/** Adds up usage. */
export class Usage {
  readonly #lines = new Map<string, UsageLine>();

  add(service: ServiceName, what: string, price: PriceName, units: number): void {
    const key = `${service} ${what} ${price}`;
    const before = this.#lines.get(key)?.units ?? 0;
    this.#lines.set(key, { service, what, price, units: before + units });
  }

  /** The lines, by service, then by use. */
  lines(): UsageLine[] {
    const order = (line: UsageLine) => `${services.indexOf(line.service)} ${line.what}`;
    return [...this.#lines.values()].sort((a, b) => (order(a) < order(b) ? -1 : 1));
  }
}

export type Dollars = Readonly<Record<ServiceName | 'total', number>>;

/** The cost of the lines, by service. */
export function dollarsOf(lines: readonly UsageLine[], perEvents = 1): Dollars {
  const cost = (wanted: readonly UsageLine[]) =>
    wanted.reduce((sum, { price, units }) => sum + priceTable.units[price] * units, 0) / perEvents;
  const entries = services.map((service) => [
    service,
    cost(lines.filter((line) => line.service === service)),
  ]);
  return { ...Object.fromEntries(entries), total: cost(lines) } as Dollars;
}
