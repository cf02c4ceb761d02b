import { fromRanges, toRanges, type Ranges } from '../../../domain/index-ranges.ts';
import type { LogRecord } from './frame.ts';

type Extension = Pick<LogRecord, 'excluded' | 'originId'>;

interface Document {
  readonly origin_id?: string;
  readonly excluded?: Ranges;
}

/** The rare fields of a record as JSON; undefined if it has none. */
export function encodeExtension({ excluded, originId }: Extension): Buffer | undefined {
  if (excluded === undefined && originId === undefined) return undefined;
  const document: Document = {
    ...(originId !== undefined && { origin_id: originId }),
    ...(excluded !== undefined && { excluded: toRanges(excluded) }),
  };
  return Buffer.from(JSON.stringify(document), 'latin1');
}

/** Reads what `encodeExtension` wrote. The caller has verified the frame's checksum. */
export function readExtension(text: string): Extension {
  const { origin_id: originId, excluded } = JSON.parse(text) as Document;
  return {
    ...(originId !== undefined && { originId }),
    ...(excluded !== undefined && { excluded: fromRanges(excluded) }),
  };
}
