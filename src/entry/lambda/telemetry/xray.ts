import { Tracer } from '@aws-lambda-powertools/tracer';

/*
 * Loaded when the first sampled invocation comes: the SDK of X-Ray takes half as long to load as all
 * else in a bundle, and of many requests most are not sampled.
 */

// Its wrapper of node:http would name hosts and paths; the clients of AWS have subsegments of ours.
const tracer = new Tracer({ captureHTTPsRequests: false });
// The SDK puts the segment that Lambda has opened into the context in which it is loaded.
const lambdaSegment = tracer.getSegment();

export type Subsegment = ReturnType<NonNullable<typeof lambdaSegment>['addNewSubsegment']>;

/** Opens a part of the trace that runs now; undefined where there is none. */
export function openSubsegment(name: string): Subsegment | undefined {
  if (lambdaSegment === undefined) return undefined;
  return tracer.provider.getNamespace().runAndReturn(() => {
    tracer.setSegment(lambdaSegment);
    // Asking for it lets it take the id of this invocation's trace.
    return tracer.getSegment()?.addNewSubsegment(name);
  });
}
