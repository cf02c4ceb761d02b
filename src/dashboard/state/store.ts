import { Api, ApiError, isToken } from './api.ts';
import { asWritten, todayIn, type Day } from '../data/calendar/days.ts';
import { readHealth, readLatestDate, type Health } from '../data/health.ts';
import { aheadPath, load, lookAhead, probePath, type Snapshot } from './load.ts';
import type { DailyRow } from '../data/counts.ts';
import type { PresetDays } from '../data/calendar/periods.ts';
import { readView, writeView, type View } from '../data/view.ts';

export interface State {
  readonly view: View;
  /** Undefined until the first response. */
  readonly snapshot: Snapshot | undefined;
  /** The view that the snapshot shows. */
  readonly shownView: View;
  /** The version of the probe before the snapshot was loaded. */
  readonly version: string | undefined;
  readonly health: Health | undefined;
  readonly isLoading: boolean;
  readonly error: Failure | undefined;
  /** Undefined: no token is required, as far as is known. */
  readonly signIn: { readonly message: string | undefined } | undefined;
  readonly isSignedIn: boolean;
  /** The day rule of the pipeline; undefined until it is known. */
  readonly dayZone: string | undefined;
  readonly days: PresetDays;
  /** The latest date with counts, if known. */
  readonly latestDate: Day | undefined;
  readonly now: number;
}

export interface Failure {
  readonly text: string;
  /** Whether the page reloads automatically. */
  readonly isPassing: boolean;
}

type Loaded = Pick<State, 'snapshot' | 'shownView' | 'version' | 'days'>;

const pollMs = 2_000;
const backOffMsMax = 60_000;
/** The interval of health requests without live mode. */
const healthMs = 30_000;
/** After how many polls the page also requests the health of the pipeline. */
const healthEvery = 3;

/** The state of the page, and the actions that change it. This file leads the folder. */
export class Store {
  readonly api = new Api();
  readonly #listeners = new Set<(state: State) => void>();
  #state: State;
  #loading = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether there was no batch when the page was opened, and none has been counted since. */
  #isFirstRun = false;
  /** Whether it is known that no token is needed. */
  #isOpen = false;
  #hasLookedAhead = false;
  #failures = 0;
  #polls = 0;

  constructor() {
    const view = readView(location.search);
    const today = todayIn(asWritten, Date.now());
    this.#state = {
      view,
      shownView: view,
      version: undefined,
      snapshot: undefined,
      health: undefined,
      isLoading: true,
      error: undefined,
      signIn: undefined,
      isSignedIn: this.api.token !== undefined,
      dayZone: undefined,
      days: { today, latest: today },
      latestDate: undefined,
      now: Date.now(),
    };
    addEventListener('popstate', () => {
      this.#set({ view: readView(location.search) });
      void this.refresh();
    });
    document.addEventListener('visibilitychange', () => this.#schedule(0));
    setInterval(() => this.#tick(), 5000);
    void this.refresh();
  }

  get state(): State {
    return this.#state;
  }

  subscribe(listener: (state: State) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** Shows another view; with `isTyping` it replaces the current entry of the browser's history. */
  show(change: Partial<View>, isTyping = false): void {
    const view = { ...this.#state.view, ...change };
    const url = `${location.pathname}${writeView(view)}`;
    const isSame = url === location.pathname + location.search;
    if (isTyping || isSame) history.replaceState(null, '', url);
    else history.pushState(null, '', url);
    const isOfPage = Object.keys(change).every((name) => ofPage.has(name));
    this.#set(isOfPage ? { view, shownView: { ...this.#state.shownView, ...change } } : { view });
    if (!isOfPage) void this.refresh();
  }

  signIn(token: string): void {
    if (!isToken(token)) {
      const message = 'A token consists of ASCII characters without spaces.';
      this.#set({ signIn: { message } });
      return;
    }
    this.api.token = token;
    void this.refresh();
  }

  signOut(): void {
    this.api.token = undefined;
    this.#isOpen = false;
    this.#set({ isSignedIn: false, snapshot: undefined });
    void this.refresh();
  }

  /** Loads the data of the view. */
  async refresh(): Promise<void> {
    this.#loading.abort();
    const { signal } = (this.#loading = new AbortController());
    this.#set({ isLoading: true });
    try {
      if (await this.#asksForToken(signal)) {
        this.#set({ isLoading: false, signIn: this.#state.signIn ?? { message: undefined } });
      } else {
        const loaded = await this.#load(signal);
        signal.throwIfAborted();
        this.#arrive(loaded);
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#fail(error);
      if (error instanceof ApiError && error.status >= 500) {
        await this.#askHealth(signal).catch(() => undefined);
      }
    }
    this.#schedule();
  }

  /**
   * Requests `/healthz`, which needs no token: browsers log each 401 as an error. The response also has
   * the day rule, which is read once.
   */
  async #asksForToken(signal: AbortSignal): Promise<boolean> {
    const isAdmitted = this.api.token !== undefined || this.#isOpen;
    if (isAdmitted && this.#state.dayZone !== undefined) return false;
    const { value } = await this.api.get('healthz', signal);
    const { access, day_zone: dayZone } = (value ?? {}) as Record<string, unknown>;
    this.#isOpen = access === 'open';
    this.#set({ dayZone: typeof dayZone === 'string' ? dayZone : asWritten });
    return this.api.token === undefined && !this.#isOpen;
  }

  /** The days of the presets now. */
  async #askDays(signal: AbortSignal): Promise<PresetDays> {
    const now = Date.now();
    const today = todayIn(this.#state.dayZone ?? asWritten, now);
    const path = aheadPath(today, now);
    if (path === undefined) return { today, latest: today };
    const { value } = await this.api.get(path, signal, true);
    return { today, latest: (value as DailyRow[]).at(-1)?.date ?? today };
  }

  async #load(signal: AbortSignal): Promise<Loaded> {
    const { view } = this.#state;
    const days = await this.#askDays(signal);
    // Request the probe first: the next probe then shows later changes, and a 401 is reported only
    // once.
    const probe = await this.api.get(probePath(view, days), signal, true);
    const health = this.#askHealth(signal);
    const isInUse = async () => (await health, hasBatches(this.#state));
    const [snapshot] = await Promise.all([
      load(this.api, view, days, probe.value as DailyRow[], isInUse, signal),
      health.then(() => this.#lookAhead(signal)),
    ]);
    return { snapshot, shownView: view, version: probe.version, days };
  }

  /**
   * Do this only once, because it is expensive: for stacks on AWS, which do not report the latest
   * date.
   */
  async #lookAhead(signal: AbortSignal): Promise<void> {
    if (this.#hasLookedAhead || this.#state.latestDate !== undefined) return;
    const latestDate = await lookAhead(this.api, signal);
    this.#hasLookedAhead = true;
    this.#set({ latestDate });
  }

  #arrive(loaded: Loaded): void {
    this.#failures = 0;
    this.#set({
      ...loaded,
      isLoading: false,
      error: undefined,
      signIn: undefined,
      isSignedIn: this.api.token !== undefined,
      now: Date.now(),
    });
    // After the first batch, show the next ones, too.
    if (this.#isFirstRun && !hasNothing(loaded.snapshot)) {
      this.#isFirstRun = false;
      this.show({ isLive: true }, true);
    } else this.#isFirstRun ||= isFirstRun(this.#state);
  }

  #tick(): void {
    if (document.visibilityState !== 'visible') return;
    const { now, view, dayZone = asWritten } = this.#state;
    this.#set({ now: Date.now() });
    if (!('preset' in view.range)) return;
    if (todayIn(dayZone, now) !== todayIn(dayZone, Date.now())) void this.refresh();
  }

  /** Refreshes if `needsRefresh` returns true, and schedules the next poll. */
  async #look(needsRefresh: (signal: AbortSignal) => Promise<boolean>): Promise<void> {
    const { signal } = this.#loading;
    try {
      if (await needsRefresh(signal)) {
        await this.refresh();
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#fail(error);
    }
    this.#schedule();
  }

  /**
   * Requests the probe, and whether it has changed since the snapshot: other requests for the same path
   * may have seen a later state than the snapshot shows.
   */
  async #hasChanged(signal: AbortSignal): Promise<boolean> {
    this.#polls++;
    const { view, days } = this.#state;
    if (this.#polls % healthEvery === 0) {
      await this.#askHealth(signal);
      if ((await this.#askDays(signal)).latest !== days.latest) return true;
    }
    const { version } = await this.api.get(probePath(view, days), signal, true);
    const isSame = version !== undefined && version === this.#state.version;
    return !isSame || this.#state.error !== undefined;
  }

  /** Keeps the displayed age of the latest batch up to date. Returns whether a token is refused. */
  async #isRefused(signal: AbortSignal): Promise<boolean> {
    const isAllowed = await this.#askHealth(signal);
    if (isAllowed) this.#set({ now: Date.now() });
    return !isAllowed;
  }

  /** Whether requests are allowed now. */
  async #askHealth(signal: AbortSignal): Promise<boolean> {
    try {
      const { value } = await this.api.get('readyz', signal);
      const latestDate = readLatestDate(value) ?? this.#state.latestDate;
      this.#set({ health: readHealth(value), latestDate });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (isRefusal(error)) return false;
      if (error.status === 0) this.#set({ health: { kind: 'unreachable' } });
      else if (error.status >= 500) {
        this.#set({ health: { kind: 'unavailable', detail: error.message } });
      }
    }
    return true;
  }

  #fail(error: unknown): void {
    this.#failures++;
    if (!isRefusal(error)) {
      const { signIn } = this.#state;
      const isOfApi = error instanceof ApiError;
      this.#set({
        isLoading: false,
        // The last known health is no longer valid.
        ...(isOfApi && error.status === 0 && { health: { kind: 'unreachable' } }),
        error: { text: textOf(error), isPassing: !isOfApi || error.isPassing },
        ...(signIn && { signIn: { message: `${textOf(error)} This page retries automatically.` } }),
      });
      return;
    }
    // Data from before the refusal must not be shown any longer.
    this.#loading.abort();
    const hadToken = this.api.token !== undefined;
    this.api.token = undefined;
    this.#isOpen = false;
    // Concurrent requests are refused, too, and add no information.
    const message = !hadToken
      ? this.#state.signIn?.message
      : error instanceof ApiError && error.status === 403
        ? 'This token lacks the scope read. Create one with: npx device-pipeline token create --name NAME --for read'
        : 'Unknown token: it is mistyped, revoked or expired.';
    this.#set({
      isLoading: false,
      isSignedIn: false,
      snapshot: undefined,
      error: undefined,
      signIn: { message },
    });
  }

  #schedule(afterMs?: number): void {
    clearTimeout(this.#timer);
    const { view, snapshot, error, signIn } = this.#state;
    const isWaiting = error?.isPassing ?? (view.isLive || hasNothing(snapshot));
    if (document.visibilityState !== 'visible') return;
    // No token was entered yet, or the entered one was refused.
    if (signIn !== undefined && (this.api.token === undefined || error === undefined)) return;
    if (!isWaiting) {
      const look = () => void this.#look((signal) => this.#isRefused(signal));
      this.#timer = setTimeout(look, healthMs);
      return;
    }
    const delay = afterMs ?? Math.min(pollMs * 2 ** this.#failures, backOffMsMax);
    const poll = () => this.#look((signal) => this.#hasChanged(signal));
    const next = () => void (snapshot === undefined ? this.refresh() : poll());
    this.#timer = setTimeout(next, delay);
  }

  #set(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener(this.#state);
  }
}

/** The parts of a view that need no other data. */
const ofPage = new Set<string>(['sort', 'text', 'rows', 'unit', 'hasBefore', 'heat']);

/** Whether neither the range nor the year has counts, so that the page waits for the first ones. */
function hasNothing(snapshot: Snapshot | undefined): boolean {
  return (
    snapshot !== undefined && snapshot.allTypes.length === 0 && snapshot.elsewhere === undefined
  );
}

/** Whether no batch was ever received, as far as the page knows. */
export function isFirstRun(state: State): boolean {
  return hasNothing(state.snapshot) && !hasBatches(state);
}

function hasBatches({ health }: State): boolean {
  return health?.kind === 'ready' && health.lastReceivedAt !== undefined;
}

function isRefusal(error: unknown): boolean {
  return error instanceof ApiError && (error.status === 401 || error.status === 403);
}

function textOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
