/** An error in the form in which the SDK throws those that have no class of their own. */
export function serviceError(name: string, httpStatusCode: number, message = name): Error {
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode } });
}

/** An error of the connection: nobody knows what became of the request. */
export function networkError(code: string): Error {
  return Object.assign(new Error(`the connection broke: ${code}`), { code });
}

/** What the simulation does not know it refuses, rather than to answer otherwise than AWS. */
export class UnknownToSimulation extends Error {
  override readonly name = 'UnknownToSimulation';
}

export function unknownToSimulation(what: string): Error {
  return new UnknownToSimulation(`the simulated AWS does not know ${what}`);
}

/** Throws where a request has a member whose effect is not simulated. */
export function knowsOnly(request: object, members: readonly string[]): void {
  for (const [member, value] of Object.entries(request)) {
    if (value !== undefined && !members.includes(member)) throw unknownToSimulation(member);
  }
}
