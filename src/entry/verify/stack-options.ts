import type { Command } from 'commander';

import { count, option } from '../cli/common-options.ts';
import { wholeNumber } from '../cli/option-parsers.ts';

/** How `audit` and `rebuild` read a stack. */
export interface StackAuditOptions {
  /** Concurrent requests to AWS. */
  width: number;
  requestsPerSecond: number;
  /** A batch received within this time may not be counted yet, which is no finding. */
  inFlightMs: number;
}

interface Values {
  parallel: number;
  maxRequests: number;
  inFlight: number;
}

const minuteMs = 60_000;
/** The sweeper checks a batch after 15 minutes, and may then have to send its messages again. */
const inFlightMinutes = 30;

export function addStackAuditOptions(command: Command): Command {
  return command
    .addOption(count('--parallel <n>', 'concurrent requests to AWS (stack only)', 256, 32))
    .addOption(
      count('--max-requests <n>', 'requests per second to AWS (stack only)', 100_000, 1_000),
    )
    .addOption(
      option(
        '--in-flight <minutes>',
        'how old a batch must be to count as missing (stack only)',
        wholeNumber(0, 1_000_000),
      ).default(inFlightMinutes),
    );
}

export function stackAuditOptions(command: Command): StackAuditOptions {
  const { parallel, maxRequests, inFlight } = command.opts<Values>();
  return { width: parallel, requestsPerSecond: maxRequests, inFlightMs: inFlight * minuteMs };
}
