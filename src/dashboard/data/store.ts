import { Api, ApiError, isToken } from './api.ts';
import { asWritten, todayIn, type Day } from './days.ts';
import { readHealth, readLatestDate, type Health } from './health.ts';
import { aheadPath, load, lookAhead, probePath, type DailyRow, type Snapshot } from './load.ts';
import { readView, writeView, type PresetDays, type View } from './view.ts';

export interface State {
  readonly view: View;
  /** Undefined until the first answer. */
  readonly snapshot: Snapshot | undefined;
  /** The view that the snapshot is of. */
  readonly shownView: View;
  readonly health: Health | undefined;
  readonly isLoading: boolean;
  readonly error: Failure | undefined;
  /** Undefined: none is needed, as far as is known. */
  readonly signIn: { readonly message: string | undefined } | undefined;
  readonly isSignedIn: boolean;
  /** The rule by which the pipeline takes the day of an item; undefined until it has said so. */
  readonly dayZone: string | undefined;
  readonly days: PresetDays;
  /** The latest date that has counts, as far as that is known. */
  readonly latestDate: Day | undefined;
  readonly now: number;
}

export interface Failure {
  readonly text: string;
  /** Whether the page asks again by itself. */
  readonly isPassing: boolean;
}

type Loaded = Pick<State, 'snapshot' | 'shownView' | 'days'>;

const pollMs = 2_000;
const backOffMsMax = 60_000;
/** Without live mode it is asked how it is, and nothing else. */
const healthMs = 30_000;
/** Every so many polls the pipeline is also asked how it is. */
const healthEvery = 3;

/** What the page knows, and how it comes to know more. */
export class Store {
  readonly api = new Api();
  readonly #listeners = new Set<(state: State) => void>();
  #state: State;
  #loading = new AbortController();
  #timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether no batch had come when the page was opened, and none is counted since. */
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

  /** Shows another view; `isTyping` makes no step to go back to. */
  show(change: Partial<View>, isTyping = false): void {
    const view = { ...this.#state.view, ...change };
    const url = `${location.pathname}${writeView(view)}`;
    if (isTyping) history.replaceState(null, '', url);
    else history.pushState(null, '', url);
    const isOfTable = Object.keys(change).every((name) => ofTable.has(name));
    this.#set(isOfTable ? { view, shownView: { ...this.#state.shownView, ...change } } : { view });
    if (!isOfTable) void this.refresh();
  }

  signIn(token: string): void {
    if (!isToken(token)) {
      this.#set({
        signIn: { message: 'A token has no blanks and no letters with accents in it.' },
      });
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

  /** Loads all that the view shows. */
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
   * Asks `/healthz`, which never refuses: a browser logs each refusal as an error. The answer also says
   * how the day of an event is taken, which is read once.
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

  /** Which days the presets are now. */
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
    // Before all else: what changes later, it tells the next time. And who may not ask is told so once.
    const probe = await this.api.get(probePath(view, days), signal, true);
    const health = this.#askHealth(signal);
    const isInUse = async () => (await health, hasBatches(this.#state));
    const [snapshot] = await Promise.all([
      load(this.api, view, days, probe.value as DailyRow[], isInUse, signal),
      health.then(() => this.#lookAhead(signal)),
    ]);
    return { snapshot, shownView: view, days };
  }

  /** Where the pipeline does not say which date is the latest, as on AWS: once, since it is much to ask. */
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
    // Who sends a first batch wants to see the next ones, too.
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

  /** Asks whether anything changed, and only then for more. */
  async #poll(): Promise<void> {
    const { signal } = this.#loading;
    try {
      this.#polls++;
      const { view, days } = this.#state;
      let isSame = true;
      if (this.#polls % healthEvery === 0) {
        await this.#askHealth(signal);
        isSame = (await this.#askDays(signal)).latest === days.latest;
      }
      isSame &&= (await this.api.get(probePath(view, days), signal, true)).isSame;
      if (!isSame || this.#state.error !== undefined) {
        await this.refresh();
        return;
      }
    } catch (error) {
      if (signal.aborted) return;
      this.#fail(error);
    }
    this.#schedule();
  }

  /** So that what the page says of the latest batch does not grow old. */
  async #lookAtHealth(): Promise<void> {
    const { signal } = this.#loading;
    try {
      if (!(await this.#askHealth(signal))) {
        await this.refresh();
        return;
      }
      this.#set({ now: Date.now() });
    } catch (error) {
      if (signal.aborted) return;
      this.#fail(error);
    }
    this.#schedule();
  }

  /** Whether one may ask. */
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
        // What was last heard of it holds no more.
        ...(isOfApi && error.status === 0 && { health: { kind: 'unreachable' } }),
        error: {
          text: textOf(error),
          isPassing: !isOfApi || error.isPassing,
        },
        ...(signIn && { signIn: { message: `${textOf(error)} This page tries again by itself.` } }),
      });
      return;
    }
    // What was answered before the refusal must not be shown after it.
    this.#loading.abort();
    const hadToken = this.api.token !== undefined;
    this.api.token = undefined;
    this.#isOpen = false;
    // What was asked at the same time is refused, too, and has nothing new to say.
    const message = !hadToken
      ? this.#state.signIn?.message
      : error instanceof ApiError && error.status === 403
        ? 'This token may not read the counters. Use one that is for read: npx device-pipeline token create --name NAME --for read'
        : 'This token is not known here: mistyped, revoked or expired.';
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
    // Nobody has said yet who they are, or what they said was refused.
    if (signIn !== undefined && (this.api.token === undefined || error === undefined)) return;
    if (!isWaiting) {
      this.#timer = setTimeout(() => void this.#lookAtHealth(), healthMs);
      return;
    }
    const delay = afterMs ?? Math.min(pollMs * 2 ** this.#failures, backOffMsMax);
    const next = () => void (snapshot === undefined ? this.refresh() : this.#poll());
    this.#timer = setTimeout(next, delay);
  }

  #set(change: Partial<State>): void {
    this.#state = { ...this.#state, ...change };
    for (const listener of this.#listeners) listener(this.#state);
  }
}

const ofTable = new Set<string>(['sort', 'text', 'rows']);

/** Whether neither the range nor the year has counts: what comes first is worth waiting for. */
function hasNothing(snapshot: Snapshot | undefined): boolean {
  return (
    snapshot !== undefined && snapshot.allTypes.length === 0 && snapshot.elsewhere === undefined
  );
}

/** Whether no batch ever came, as far as can be told. */
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
