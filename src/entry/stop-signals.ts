/** What asks a process to end. SIGHUP comes when its terminal closes, more than once by some shells. */
export const stopSignals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
export type StopSignal = (typeof stopSignals)[number];
