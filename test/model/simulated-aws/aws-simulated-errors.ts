/** An SDK error without a class of its own. */
export function serviceError(name: string, httpStatusCode: number, message = name): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode } });
}

/** A connection error: the effect of the request is unknown. */
export function networkError(code: string): Error {
  return Object.assign(new Error(`the connection broke: ${code}`), { code });
}

/** Refuses unknown requests rather than answer differently from AWS. */
export class UnknownToSimulation extends Error {
  override readonly name = 'UnknownToSimulation';
}

export function unknownToSimulation(what: string): Error {
  return new UnknownToSimulation(`the simulated AWS does not know ${what}`);
}

/** Throws if a request has a member whose effect is not simulated. */
export function knowsOnly(request: object, members: readonly string[]): void {
  for (const [member, value] of Object.entries(request)) {
    if (value !== undefined && !members.includes(member)) throw unknownToSimulation(member);
  }
}
