import { readRawKey, type BatchId } from '../../domain/batch-id.ts';

/** The batch id in a raw key; empty if another program chose the key. */
export function batchIdOf(rawKey: string): BatchId {
  return readRawKey(rawKey)?.batchId ?? '';
}

export function batchIdsOf(rawKeys: readonly string[]): BatchId[] {
  return rawKeys.map(batchIdOf).filter((batchId) => batchId !== '');
}

/** The time of receipt in a raw key, in milliseconds since 1970; `otherwise` for other keys. */
export function timeOf(rawKey: string, otherwise: number): number {
  return readRawKey(rawKey)?.receivedAt ?? otherwise;
}

/** Sorts before every raw key of that millisecond, and after all earlier ones. */
export function startOf(milliseconds: number): string {
  return `raw/${new Date(milliseconds).toISOString()}`;
}
