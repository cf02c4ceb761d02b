import type { Socket } from 'node:net';

import type { BorrowedBody, Ingest } from '../../pipeline/ports.ts';
import type { ImmediateAccess } from '../../auth/check-access.ts';
import type { HostRule } from '../app/allowed-hosts.ts';
import type { CrossOrigins } from '../app/cors.ts';
import type { MemoryBudget } from './memory-budget.ts';
import type { HttpObserver } from './observer.ts';

/** Timeouts of clients, in milliseconds. */
export interface HttpTimeouts {
  readonly headersMs: number;
  /** The time for a whole request. */
  readonly requestMs: number;
  /** The time between two requests on a connection. */
  readonly keepAliveMs: number;
  /**
   * How often the timeouts are checked. A plain request that is incomplete after this time goes to
   * `node:http`, which handles slow clients.
   */
  readonly checkMs: number;
  /** How long a refused connection stays open for a client that is still sending. */
  readonly lingerMs: number;
  /** The time for reading a large response. */
  readonly readMs: number;
}

/** Shared by both paths of a batch: the fast path of plain requests, and `node:http`. */
export interface ServerParts {
  readonly pipeline: Ingest<BorrowedBody>;
  readonly bodyBytesMax: number;
  /** Limits the memory of bodies that are being read or not answered yet. */
  readonly budget: MemoryBudget;
  readonly access: ImmediateAccess;
  readonly isHostAllowed: HostRule;
  readonly corsOrigins: CrossOrigins;
  readonly timeouts: HttpTimeouts;
  /** Whether connections close after their response. */
  readonly isStopping: () => boolean;
  /** A request was answered on a connection that stays open. */
  readonly onAnswered: (socket: Socket) => void;
  readonly onUnexpectedError: (error: Error) => void;
  readonly observer: HttpObserver;
}
