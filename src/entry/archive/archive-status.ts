import { findArchivedDirectory } from '../../engines/embedded/archive/manage/archived-directory.ts';
import {
  bytesAhead,
  statusOfLog,
  type LogStatus,
} from '../../engines/embedded/archive/manage/archive-status.ts';
import { amountOf, withThousands } from '../../util/thousands.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';
import type { ArchivePlace } from './archive-options.ts';
import { withArchive } from './with-archive.ts';

interface StatusOptions extends ArchivePlace {
  readonly dataDir?: string;
  readonly json?: true;
}

interface ShownStatus extends LogStatus {
  /** Undefined if no data directory of this log was named. */
  readonly ahead: number | undefined;
}

/** Prints how much of each log an archive holds. Returns the exit code. */
export function archiveStatus({ dataDir, json, ...place }: StatusOptions): Promise<number> {
  return withArchive(place, async (store, logIds) => {
    const directory = dataDir && (await findArchivedDirectory(store, dataDir));
    const logs: ShownStatus[] = [];
    for (const logId of logIds) {
      const status = await statusOfLog(store, logId);
      const isOwn = directory && directory.logId === logId;
      logs.push({ ...status, ahead: isOwn ? bytesAhead(directory.paths.root, status) : undefined });
    }
    const text = json
      ? jsonText({ archive: store.url, logs: logs.map(documentOf) })
      : visibleLines(logs.map(linesOf)).join('\n\n');
    process.stdout.write(`${text}\n`);
    return 0;
  });
}

function documentOf({ claim, ahead, archivedAt, damage, ...log }: ShownStatus): object {
  return {
    ...{ log_id: log.logId, from: log.begin, to: log.end },
    ...{ log_bytes: log.end - log.begin, stored_bytes: log.storedBytes },
    ...{ segments: log.segments, pieces: log.pieces, since: log.since ?? null },
    archived_until: archivedAt === undefined ? null : timeOf(archivedAt),
    server: claim
      ? { host: claim.host, directory: claim.directory, since: claim.claimed_at }
      : null,
    ...(ahead !== undefined && { ahead_bytes: ahead }),
    ...(damage !== undefined && { damage }),
  };
}

function linesOf(status: ShownStatus): string[] {
  const { logId, begin, end, claim, archivedAt, ahead, damage, ...log } = status;
  const sizes = `${amountOf(end - begin, 'byte')}, ${withThousands(log.storedBytes)} stored`;
  const server = claim && `${claim.host}, ${claim.directory}, since ${claim.claimed_at}`;
  return [
    `log       ${logId}`,
    `holds     byte ${withThousands(begin)} to ${withThousands(end)}: ${sizes}`,
    `objects   ${amountOf(log.segments, 'segment')}, ${amountOf(log.pieces, 'piece')}`,
    `since     ${log.since ?? 'unknown'}`,
    `until     ${archivedAt === undefined ? 'nothing archived yet' : timeOf(archivedAt)}`,
    `server    ${server ?? 'none'}`,
    ...(ahead === undefined ? [] : [`ahead     ${amountOf(ahead, 'byte')} in the data directory`]),
    ...(damage === undefined
      ? []
      : [`damaged   ${damage} The lines above cover only the log before the damage.`]),
  ];
}

function visibleLines(blocks: readonly string[][]): string[] {
  return blocks.map((lines) => lines.map(visible).join('\n'));
}

function timeOf(milliseconds: number): string {
  return new Date(milliseconds).toISOString();
}
