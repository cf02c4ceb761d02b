const types = ['laptop', 'phone', 'server', 'tablet', 'desktop', 'ssd'];
const states = ['erased', 'erasure failed', 'received', 'graded', 'shipped'];

/** The days in the bodies, for reading the counters. */
export const days = { from: '2023-06-01', to: '2023-06-28' };

/**
 * The body of every request of a run: 30 names on 28 days. It is constant, so that only the server is
 * measured.
 */
export function bodyOf(items: number): string {
  const devices = Array.from({ length: items }, (_, index) => ({
    type: types[index % types.length],
    state: states[index % states.length],
    timestamp: `2023-06-${String(1 + (index % 28)).padStart(2, '0')}T13:00:00Z`,
  }));
  return JSON.stringify({ processed_devices: devices });
}
