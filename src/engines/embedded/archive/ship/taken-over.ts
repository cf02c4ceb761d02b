import type { Claim } from '../archive-objects.ts';

/** This server must not write to the archive; the message says why and what to do. */
export class TakenOver extends Error {
  override readonly name = 'TakenOver';
}

/** Another server archives the same log. @param claim the claim of that server, if it is known. */
export function takenOver(url: string, claim: Claim | undefined): TakenOver {
  const server = claim === undefined ? 'another server' : serverOf(claim);
  return new TakenOver(
    `The archive ${url} has been taken over by ${server}. Do not start this server again. If the other server must not continue, stop it, and restore a new data directory from the archive (restore).`,
  );
}

/** The data directory is another copy of the log. */
export function notContinued(url: string, claim: Claim): TakenOver {
  return new TakenOver(
    `${url} already holds an archive of this log, written by ${serverOf(claim)}. This data directory does not continue it. Archive it to another prefix, or restore a new data directory from the archive (restore).`,
  );
}

function serverOf({ host, directory, claimed_at: at }: Claim): string {
  return `the server on ${host} with the data directory ${directory}, since ${at}`;
}
