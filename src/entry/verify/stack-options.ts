import type { Command } from 'commander';

import { count, option } from '../cli/common-options.ts';
import { wholeNumber } from '../cli/option-parsers.ts';

/** How a stack is read for a proof. */
export interface StackAuditOptions {
  /** Requests under way at the same time, and a second. */
  width: number;
  requestsPerSecond: number;
  /** A batch that came so recently may still be on its way to the counters. */
  inFlightMs: number;
}

interface Values {
  parallel: number;
  maxRequests: number;
  inFlight: number;
}

const minuteMs = 60_000;
/** The sweeper looks at a batch after a quarter of an hour, and its messages take their time. */
const inFlightMinutes = 30;

export function addStackAuditOptions(command: Command): Command {
  return command
    .addOption(count('--parallel <n>', 'requests to AWS at the same time (a stack)', 256, 32))
    .addOption(count('--max-requests <n>', 'requests to AWS a second (a stack)', 100_000, 1_000))
    .addOption(
      option(
        '--in-flight <minutes>',
        'batches that came so recently may still be on their way (a stack)',
        wholeNumber(0, 1_000_000),
      ).default(inFlightMinutes),
    );
}

export function stackAuditOptions(command: Command): StackAuditOptions {
  const { parallel, maxRequests, inFlight } = command.opts<Values>();
  return { width: parallel, requestsPerSecond: maxRequests, inFlightMs: inFlight * minuteMs };
}
