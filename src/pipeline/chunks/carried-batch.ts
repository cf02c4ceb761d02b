import { hash } from 'node:crypto';
import { isUtf8 } from 'node:buffer';

import {
  carriedItemsMax,
  placeInBlock,
  rawKeyOf,
  readCarriedBatchId,
  type BatchId,
} from '../../domain/batch-id.ts';
import type { Batch, ContentEncoding, RawBatch } from '../ports.ts';
import { asciiJson } from './chunk.ts';

/*
 * The message of a small batch may carry its body, and is then the only copy of it. The processor stores
 * the message as a line of a body group. This file writes and reads both.
 */

/** A batch whose message carries its body. None of its items is rejected, and it is one chunk. */
export interface CarriedBatch extends Omit<RawBatch, 'excluded'> {
  readonly rejected: 0;
  /** The SHA-256 of the body as received, in hex. */
  readonly sha256: string;
  /** The id of its idempotency key. */
  readonly keyId?: string;
}

/** As received. In base64 it is smaller than the 64 KB that SQS bills as one request. */
export const carriedBytesMax = 32 * 1024;
/**
 * The version of the message: 2 if the dedup record of its batch is in a block, 1 if it is in a row of
 * its own.
 */
const versionOf = (batchId: BatchId) => (placeInBlock(batchId) === undefined ? 1 : 2);
const versions: readonly unknown[] = [1, 2];
const form = 'batch';

type JsonObject = Record<string, unknown>;

/** Whether a message may carry the batch, judging by its counts; it must also be one chunk. */
export function mayBeCarried(
  { body, accepted, rejected, excluded = [] }: Batch,
  itemsPerMessage: number,
): boolean {
  return (
    body.length <= carriedBytesMax &&
    rejected === 0 &&
    accepted >= 1 &&
    excluded.length === 0 &&
    accepted <= Math.min(carriedItemsMax, itemsPerMessage)
  );
}

/** A line of JSON in ASCII, without its end: the message, and a line of a body group. */
export function carriedMessage(batch: Omit<CarriedBatch, 'sha256'>): string {
  const { batchId, receivedAt, accepted, rejected, encoding, keyId, body } = batch;
  const bytes = Buffer.from(body.buffer, body.byteOffset, body.length);
  return asciiJson({
    version: versionOf(batchId),
    form,
    batch_id: batchId,
    raw_key: rawKeyOf(batchId, receivedAt),
    received_at: new Date(receivedAt).toISOString(),
    accepted,
    rejected,
    ...(encoding !== 'identity' && { encoding }),
    ...(keyId !== undefined && { key_id: keyId }),
    sha256: hash('sha256', bytes),
    ...(encoding === 'identity' && isUtf8(bytes)
      ? { body: bytes.toString() }
      : { body_base64: bytes.toString('base64') }),
  });
}

/** Whether the document has the members of the message of a carried batch. */
export function isCarried(document: JsonObject): boolean {
  // An item of another program may have any of these members, but not all.
  return document['form'] === form && 'batch_id' in document && 'sha256' in document;
}

/**
 * Reads a message or a line of a body group; or returns why it is invalid, as the reason of a dead
 * letter.
 */
export function readCarriedBatch(
  document: JsonObject,
): { readonly carried: CarriedBatch } | { readonly reason: string } {
  const { version, batch_id: batchId, raw_key: rawKey, accepted, sha256 } = document;
  if (!versions.includes(version)) {
    const detail = `expected version ${versions.join(' or ')}, not ${JSON.stringify(version)}`;
    return { reason: `unsupported_version: ${detail}` };
  }
  const invalid = (detail: string) => ({ reason: `invalid_message: ${detail}` });
  const known = typeof batchId === 'string' ? readCarriedBatchId(batchId) : undefined;
  if (known === undefined || typeof batchId !== 'string') {
    return invalid('batch_id is not the id of a carried batch');
  }
  if (version !== versionOf(batchId)) return invalid('version does not belong to batch_id');
  const { items, receivedAt } = known;
  if (
    rawKey !== rawKeyOf(batchId, receivedAt) ||
    accepted !== items ||
    document['rejected'] !== 0
  ) {
    return invalid('raw_key, accepted or rejected does not belong to batch_id');
  }
  const encoding = document['encoding'] ?? 'identity';
  const body = readBody(document);
  if (body === undefined || !isEncoding(encoding)) {
    return invalid('the body is missing or has an unknown encoding');
  }
  if (hash('sha256', body) !== sha256) return invalid('the SHA-256 of the body is not sha256');
  const keyId = document['key_id'];
  return {
    carried: {
      ...{ batchId, receivedAt, accepted: items, rejected: 0, encoding, body, sha256 },
      ...(typeof keyId === 'string' && { keyId }),
    },
  };
}

function isEncoding(value: unknown): value is ContentEncoding {
  return value === 'identity' || value === 'gzip';
}

function readBody({ body, body_base64: base64 }: JsonObject): Buffer | undefined {
  if (typeof body === 'string') return Buffer.from(body);
  return typeof base64 === 'string' ? Buffer.from(base64, 'base64') : undefined;
}
