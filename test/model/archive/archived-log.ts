import { nodeFileSystem } from '../../../src/engines/embedded/log/file-system.ts';
import { LogReader } from '../../../src/engines/embedded/log/log-reader.ts';

/** A record of a log, as stored by the oracle. */
export interface KnownRecord {
  /** The batch id in hexadecimal. It is random, so it stands for all of the record. */
  readonly id: string;
  readonly position: number;
  readonly end: number;
  readonly body: string;
  /** Milliseconds since 1970. */
  readonly receivedAt: number;
}

/** Reads all records of a log. */
export function readRecords(directory: string): KnownRecord[] {
  const reader = new LogReader(nodeFileSystem, directory);
  try {
    return Array.from(reader.records(), ({ record, end }) => ({
      id: Buffer.from(record.batchId).toString('hex'),
      position: record.position,
      end,
      body: Buffer.from(record.body).toString('latin1'),
      receivedAt: record.receivedAt,
    }));
  } finally {
    reader.close();
  }
}
