import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { Agent, request } from 'node:http';

const everyMs = 100;
const answerMsMax = 45_000;

export interface Watched {
  readonly probes: number;
  readonly slowestMs: number;
  readonly peakMiB: number;
}

/** Asks a server for its health again and again, on a connection of its own. */
export class Watch {
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1, timeout: answerMsMax });
  readonly #url: string;
  readonly #pid: number;
  readonly #loop: Promise<void>;
  #isOver = false;
  #probes = 0;
  #slowestMs = 0;
  failure: Error | undefined;

  constructor(url: string, pid: number) {
    this.#url = url;
    this.#pid = pid;
    this.#loop = this.#run();
  }

  /** @throws where a probe was not answered 200 in time, or by another connection. */
  async end(): Promise<Watched> {
    this.#isOver = true;
    await this.#loop;
    this.#agent.destroy();
    if (this.failure !== undefined) throw this.failure;
    return { probes: this.#probes, slowestMs: this.#slowestMs, peakMiB: memoryPeakMiB(this.#pid) };
  }

  async #run(): Promise<void> {
    while (!this.#isOver) {
      const sentAt = performance.now();
      try {
        await this.#probe();
      } catch (error) {
        this.failure = new Error('another client is not served', { cause: error });
        return;
      }
      this.#probes++;
      this.#slowestMs = Math.max(this.#slowestMs, performance.now() - sentAt);
      await new Promise((resolve) => setTimeout(resolve, everyMs));
    }
  }

  #probe(): Promise<void> {
    return new Promise((resolve, reject) => {
      const sent = request(`${this.#url}/healthz`, { agent: this.#agent }, (response) => {
        response.resume();
        response.on('end', () => {
          if (response.statusCode === 200) resolve();
          else reject(new Error(`/healthz answers ${response.statusCode ?? 0}`));
        });
      });
      sent.on('timeout', () => sent.destroy(new Error(`no answer for ${answerMsMax} ms`)));
      sent.on('error', reject);
      sent.end();
    });
  }
}

/** The most memory that a process has had resident, in MiB. Linux keeps the account. */
export function memoryPeakMiB(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/^VmHWM:\s+(\d+) kB$/m.exec(status)?.[1]) / 1024;
}

/** The open files of a process by their paths, and its sockets by their numbers. */
export function openFiles(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((name) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${name}`)];
    } catch {
      // It was closed meanwhile.
      return [];
    }
  });
}
