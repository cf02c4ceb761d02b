import type { StoreAdmin } from '../../../pipeline/store-admin.ts';
import { dynamodbCounterReader } from '../counters/counter-reader.ts';
import { awsDeadLetters } from './dead-letters.ts';
import { awsRawBodies } from './raw-bodies.ts';
import { replayTarget } from './replay.ts';
import { explainAwsError, openAwsStore, type AwsStore, type StackPlace } from './stack.ts';
import { awsVerification } from './verify.ts';

/**
 * Opens a store on AWS for operators, with the AWS permissions of this user.
 * @throws an Error that says what is wrong and what to do.
 */
export async function openAwsStoreAdmin(
  place: StackPlace,
  env: Record<string, string | undefined>,
): Promise<StoreAdmin> {
  return awsStoreAdmin(await openAwsStore(place, env), place);
}

/** The port on an opened store. */
export function awsStoreAdmin(store: AwsStore, place: StackPlace): StoreAdmin {
  return {
    dayZone: () => store.dayZone,
    raw: awsRawBodies(store),
    deadLetters: awsDeadLetters(store),
    openCounters: () => ({
      ...dynamodbCounterReader(store.dynamodb, store.countersTable),
      pendingBytes: 0,
    }),
    ...awsVerification(store),
    // The ledger has only hashes of idempotency keys.
    replayFacts: () => ({
      ...{ total: undefined, missing: undefined },
      ...{ deadLetters: new Set<number>(), hasKeys: false },
    }),
    openReplayTarget: () => replayTarget(store),
    explain: (error) => explainAwsError(error, place),
    close: () => store.close(),
  };
}
