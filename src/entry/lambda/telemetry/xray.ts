import { Tracer } from '@aws-lambda-powertools/tracer';

/*
 * Loaded at the first sampled invocation: the X-Ray SDK takes half as long to load as the rest of the
 * bundle, and most requests are not sampled.
 */

// Its wrapper of node:http would record hosts and paths; `tracing.ts` records the calls of AWS.
const tracer = new Tracer({ captureHTTPsRequests: false });
// The SDK puts the segment that Lambda opened into the context in which the SDK is loaded.
const lambdaSegment = tracer.getSegment();

export type Subsegment = ReturnType<NonNullable<typeof lambdaSegment>['addNewSubsegment']>;

/** Opens a subsegment of the current trace; undefined if there is none. */
export function openSubsegment(name: string): Subsegment | undefined {
  if (lambdaSegment === undefined) return undefined;
  return tracer.provider.getNamespace().runAndReturn(() => {
    tracer.setSegment(lambdaSegment);
    // Reading the segment updates it to the id of this invocation's trace.
    return tracer.getSegment()?.addNewSubsegment(name);
  });
}
