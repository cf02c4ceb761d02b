import { rawBatches } from '../../src/engines/embedded/store/raw-batches.ts';
import { openStatsReader } from '../../src/engines/embedded/reader/stats-reader.ts';
import { auditDataDirectory } from '../../src/engines/embedded/verify/audit.ts';

/*
 * Reads data directories as a user without write permission and prints what it finds, one line of
 * JSON each. Root may write everywhere, so it becomes another user first.
 */
const { getuid, setgroups, setgid, setuid } = process;
if (getuid?.() === 0) {
  setgroups?.([]);
  setgid?.(65534);
  setuid?.(65534);
}
for (const dataDir of process.argv.slice(2)) {
  const stats = openStatsReader(dataDir);
  const range = { from: '2000-01-01', to: '2100-01-01', types: [], states: [] };
  const counted = [...stats.query(range)].flat().reduce((sum, { count }) => sum + count, 0);
  stats.close();
  const { differences } = await auditDataDirectory({
    dataDir,
    dates: undefined,
    received: undefined,
    threads: 1,
    onDifference: () => undefined,
    onProgress: () => undefined,
  });
  const batches = [...rawBatches(dataDir, undefined)].length;
  process.stdout.write(`${JSON.stringify({ counted, differences, batches })}\n`);
}
