import { seededRandom } from '../../infra/local/seeded-random.ts';
import { mutate } from '../model/batch-bodies.ts';
import { below, piecesOf, type FuzzCase, type Random } from './case.ts';
import { framingCase } from './framing.ts';
import { batchBody, post, postChunked, soundRequests } from './requests.ts';

/** The case with a number in the run of a seed: always the same. */
export function caseOf(seed: number, number: number): FuzzCase {
  const random = seededRandom(Math.imul(seed, 0x9e3779b1) ^ Math.imul(number + 1, 0x85ebca6b));
  const dice = random();
  if (dice < 0.42) return framing(random);
  if (dice < 0.86) return pipelined(random, number);
  if (dice < 0.97) return mutated(random);
  return abandoned(random);
}

function framing(random: Random): FuzzCase {
  const { shape, bytes, requests, mustClose } = framingCase(random);
  const ending = mustClose && random() < 0.5 ? 'wait' : 'half-close';
  return { shape, pieces: piecesOf(bytes, random), ending, requests, abandonedItems: 0 };
}

/** Sound requests, one behind the other: each is answered, whatever is in it. */
function pipelined(random: Random, number: number): FuzzCase {
  const count = 1 + below(random, random() < 0.3 ? 30 : 6);
  const sound = Array.from({ length: count }, (_, at) =>
    soundRequests(random, `${number}-${at}`),
  ).flat();
  const bytes = Buffer.concat(sound.map((request) => request.bytes));
  return {
    shape: 'sound requests',
    pieces: piecesOf(bytes, random),
    ending: 'half-close',
    requests: sound.length,
    expected: sound.map(({ status, isRepeat = false }) => ({ status, isRepeat })),
    abandonedItems: 0,
  };
}

/** Requests with a few bytes changed: whatever is answered 200 is counted, and nothing else. */
function mutated(random: Random): FuzzCase {
  const body = Buffer.from(batchBody('answered', 1 + below(random, 3)));
  const requests = Array.from({ length: 1 + below(random, 3) }, () =>
    random() < 0.6 ? post(body) : postChunked(body, random),
  );
  const bytes = mutate(Buffer.concat(requests), random);
  return {
    shape: 'mutated requests',
    pieces: piecesOf(bytes, random),
    ending: 'half-close',
    requests: requests.length,
    abandonedItems: 0,
  };
}

/** Valid requests whose client disconnects before it has read a response. */
function abandoned(random: Random): FuzzCase {
  const count = 1 + below(random, 4);
  const request = post(batchBody('abandoned', 1), random() < 0.5 ? [] : ['X-Other: 1']);
  const bytes = Buffer.concat(Array<Buffer>(count).fill(request));
  const end = random() < 0.5 ? bytes.length : below(random, bytes.length);
  return {
    shape: 'torn down',
    pieces: piecesOf(bytes.subarray(0, end), random),
    ending: 'reset',
    requests: count,
    abandonedItems: count,
  };
}
