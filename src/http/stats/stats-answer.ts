import type { CalendarDate } from '../../domain/timestamp.ts';
import type { PipelineStatus, Queries } from '../../pipeline/ports.ts';
import { rowFormats } from '../../pipeline/stats-formats.ts';
import {
  browserHeaders,
  problemAnswer,
  type AnyAnswer,
  type Pieces,
  type Progress,
  type StreamAnswer,
} from '../app/answer.ts';
import { formatOfAccept, readIfNoneMatch } from '../app/negotiation.ts';
import { readParameters, readStatsRequest } from './stats-query.ts';

/**
 * Answers `GET /stats`: reads the query, negotiates the format, and sends 304 for a known version. The
 * request's signal is aborted when the client disconnects.
 */
export async function statsAnswer(
  queries: Pick<Queries, 'stats' | 'status'>,
  { url, headers: sent, signal }: Request,
): Promise<AnyAnswer> {
  const parameters = readParameters(new URL(url).search);
  if ('problem' in parameters) return problemAnswer(parameters.problem);
  const request = readStatsRequest(parameters.value, formatOfAccept(sent.get('accept')));
  if ('problem' in request) return problemAnswer(request.problem);
  const { query, format } = request.value;
  // Read the status before the rows: the rows are then at least as complete as it says.
  const status = await queries.status();
  const known = readIfNoneMatch(sent.get('if-none-match'));
  const answer = await queries.stats(request.value, known, signal);
  if (answer.kind === 'too_large') return tooLarge;
  const headers = {
    ...browserHeaders,
    'cache-control': cacheControlOf(query.to, Date.now()),
    vary: 'Accept, Accept-Encoding',
    ...(answer.version !== undefined && { etag: `W/"${answer.version}"` }),
    ...completenessHeaders(status),
  };
  if (answer.kind === 'unchanged') return { status: 304, headers, body: '' };
  const typed = { 'content-type': rowFormats[format].contentType, ...headers };
  if (answer.kind === 'whole') return { status: 200, headers: typed, body: answer.bytes };
  return { status: 200, headers: typed, ...withProgress(answer.pieces) };
}

/** The refusal of a response that exceeds the limit of its transport. */
export const tooLarge = problemAnswer({
  code: 'answer_too_large',
  detail:
    'The response is too large. Request fewer days, some types or states, sums (group_by), or Accept-Encoding: gzip.',
});

const hourMs = 3_600_000;

/**
 * A day that is over in all time zones, the last one being UTC-12, rarely changes any more, so
 * caches may reuse it for a minute.
 */
export function cacheControlOf(lastDay: CalendarDate, now: number): string {
  const isOver = now >= Date.parse(`${lastDay}T00:00:00Z`) + 36 * hourMs;
  return isOver ? 'private, max-age=60, must-revalidate' : 'private, no-cache';
}

/** How complete the counters are. The names are ours; `Pipeline-Pending` is an RFC 9651 item. */
function completenessHeaders(status: PipelineStatus): Record<string, string> {
  const { pending, deadLetters, countedThrough } = status;
  return {
    ...(countedThrough !== undefined && {
      'pipeline-counted-through': new Date(countedThrough).toISOString(),
    }),
    'pipeline-pending': `${pending.amount};unit=${pending.unit}`,
    'pipeline-dead-letters': String(deadLetters),
  };
}

/** Wraps the pieces so that they report their progress. */
function withProgress(pieces: Pieces): Pick<StreamAnswer, 'body' | 'progress'> {
  const progress: { bytes: number } & Progress = { bytes: 0 };
  const body: Pieces = {
    async next() {
      try {
        const result = await pieces.next();
        if (result.done !== true) progress.bytes += result.value.length;
        return result;
      } catch (error) {
        if (progress.fail === undefined) throw error;
        progress.fail(error);
        return { done: true, value: undefined };
      }
    },
    return: async () => (await pieces.return?.()) ?? { done: true, value: undefined },
    [Symbol.asyncIterator]() {
      return this;
    },
  };
  return { body, progress };
}
