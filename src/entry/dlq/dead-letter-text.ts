import { constants, gunzipSync } from 'node:zlib';

import type { DeadLetterView } from '../../pipeline/store-admin.ts';
import { jsonText, visible } from '../cli/terminal-text.ts';
import { amountOf } from '../../util/thousands.ts';

/** One line of JSON, with the whole body. */
export function deadLetterJson(deadLetter: DeadLetterView): string {
  const { id, batchId, rawKey, index, items, reason, body } = deadLetter;
  return jsonText({
    id: id || null,
    batch_id: batchId ?? null,
    raw_key: rawKey ?? null,
    index: index ?? null,
    items: items ?? null,
    reason,
    first_failed_at: timeOrNull(deadLetter.firstFailedAt),
    last_failed_at: timeOrNull(deadLetter.lastFailedAt),
    dropped_at: timeOrNull(deadLetter.droppedAt),
    encoding: deadLetter.encoding,
    body_base64: body === undefined ? null : Buffer.from(body).toString('base64'),
  });
}

/** Several lines for people, with the beginning of the body. */
export function deadLetterText(deadLetter: DeadLetterView): string {
  const { id, rawKey, index, items, reason, droppedAt } = deadLetter;
  const part = index === undefined ? '' : `, chunk ${index}`;
  const size = items === undefined ? '' : `, ${amountOf(items, 'item')}`;
  const dropped = droppedAt === undefined ? '' : `, dropped ${timeText(droppedAt)}`;
  const excerpt = excerptOf(deadLetter);
  return [
    `${visible(rawKey ?? (id || 'damaged'))}${part}${size}`,
    `  ${visible(reason)}`,
    `  first failed ${timeText(deadLetter.firstFailedAt)}, last ${timeText(deadLetter.lastFailedAt)}${dropped}`,
    ...(excerpt === '' ? [] : [`  ${excerpt}`]),
    '',
  ].join('\n');
}

const excerptCharacters = 160;
const excerptBytes = 4_096;

function excerptOf({ body, encoding }: DeadLetterView): string {
  if (body === undefined) return '';
  const head = body.subarray(0, excerptBytes);
  const text = encoding === 'gzip' ? inflatedHead(head) : Buffer.from(head).toString();
  if (text === undefined) return `${body.length} bytes that cannot be inflated`;
  const line = text.replace(/\s+/g, ' ').trim();
  const isCut = line.length > excerptCharacters || body.length > head.length;
  return visible(line.slice(0, excerptCharacters)) + (isCut ? ' …' : '');
}

/** Inflates the head of a compressed body. Its few bytes cannot inflate to much. */
function inflatedHead(head: Uint8Array): string | undefined {
  try {
    return gunzipSync(head, { finishFlush: constants.Z_SYNC_FLUSH }).toString();
  } catch {
    return undefined;
  }
}

function timeText(time: number | undefined): string {
  return time === undefined ? 'at an unknown time' : new Date(time).toISOString();
}

function timeOrNull(time: number | undefined): string | null {
  return time === undefined ? null : new Date(time).toISOString();
}
