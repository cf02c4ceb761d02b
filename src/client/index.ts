export {
  createClient,
  DeliveryError,
  type Client,
  type ClientOptions,
  type DeviceEvent,
  type GivenUpBatch,
  type Refusal,
  type Totals,
} from './client.ts';
export { flushOnExit } from './flush-on-exit.ts';
export {
  defaultRetryLimits,
  type Batch,
  type ItemError,
  type PostOutcome,
  type Retry,
  type RetryLimits,
} from './post-batch.ts';
