import { durationBounds, Histogram } from '../../util/histogram.ts';
import type { AnsweredRequest, HttpObserver } from '../../http/server/observer.ts';
import type { IngestOutcome } from '../../pipeline/ports.ts';

/** The routes whose durations are measured. */
const measuredRoutes = ['/ingest', '/stats'] as const;

interface RequestCount {
  readonly route: string;
  readonly method: string;
  readonly status: number;
  count: number;
}

/**
 * Counts requests, batches and items. `acceptedPlain` is called up to tens of thousands of times a
 * second, so it only adds to plain numbers, which each scrape of the metrics reads.
 */
export class Traffic implements HttpObserver {
  batchesAccepted = 0;
  itemsAccepted = 0;
  itemsRefused = 0;
  bytesReceived = 0;
  bytesAccepted = 0;
  readonly itemErrors = new Map<string, number>();
  readonly problems = new Map<string, number>();
  readonly answersCut = new Map<string, number>();
  readonly durations = new Map<string, Histogram>(
    measuredRoutes.map((route) => [route, new Histogram(durationBounds)]),
  );
  readonly #ingestDurations = this.durations.get('/ingest') ?? new Histogram(durationBounds);
  readonly #requests = new Map<string, RequestCount>();
  #plain = 0;

  acceptedPlain(items: number, bodyBytes: number, seconds: number): void {
    this.#plain++;
    this.batchesAccepted++;
    this.itemsAccepted += items;
    this.bytesReceived += bodyBytes;
    this.bytesAccepted += bodyBytes;
    this.#ingestDurations.observe(seconds);
  }

  decided(outcome: IngestOutcome, bodyBytes: number): void {
    this.bytesReceived += bodyBytes;
    const { rejectedByCode = [] } = outcome.accepted ? outcome : outcome.problem;
    for (const [code, items] of rejectedByCode) {
      this.itemsRefused += items;
      add(this.itemErrors, code, items);
    }
    if (!outcome.accepted) return;
    this.batchesAccepted++;
    this.itemsAccepted += outcome.enqueued;
    this.bytesAccepted += bodyBytes;
  }

  answered({ route, method, status, seconds, problem, cut }: AnsweredRequest): void {
    this.#countOf(route, method, status).count++;
    this.durations.get(route)?.observe(seconds);
    if (problem !== undefined) add(this.problems, problem);
    if (cut !== undefined) add(this.answersCut, cut);
  }

  /** Requests by route, method and status. */
  requests(): RequestCount[] {
    const plain = { ...this.#countOf('/ingest', 'POST', 200) };
    plain.count += this.#plain;
    const isPlain = ({ route, method, status }: RequestCount) =>
      route === plain.route && method === plain.method && status === plain.status;
    return [plain, ...[...this.#requests.values()].filter((request) => !isPlain(request))];
  }

  #countOf(route: string, method: string, status: number): RequestCount {
    const key = `${route} ${method} ${status}`;
    const known = this.#requests.get(key);
    if (known !== undefined) return known;
    const begun = { route, method, status, count: 0 };
    this.#requests.set(key, begun);
    return begun;
  }
}

function add(counts: Map<string, number>, code: string, times = 1): void {
  counts.set(code, (counts.get(code) ?? 0) + times);
}
