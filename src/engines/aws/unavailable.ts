import { AllItemsOverLimit, Unavailable } from '../../pipeline/ports.ts';
import { isThrottle } from './errors.ts';

/**
 * Turns any failure into `Unavailable` with this message, so that the client tries again, and
 * reports the failure to `onFailure`. `AllItemsOverLimit` is not a failure.
 */
export async function orUnavailable<T>(
  message: string,
  onFailure: (error: unknown) => void,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    // The error is in the batch, not in AWS.
    if (error instanceof AllItemsOverLimit) throw error;
    onFailure(error);
    if (error instanceof Unavailable) throw error;
    const code = isThrottle(error) ? 'overloaded' : 'storage_failed';
    throw new Unavailable(code, message, { cause: error });
  }
}
