import { Unavailable } from '../../pipeline/ports.ts';
import { isThrottle } from './errors.ts';

/**
 * What AWS does not do now, the client is to try again: any failure of the act becomes
 * `Unavailable` with the message, and `onFailure` is told what it was.
 */
export async function orUnavailable<T>(
  message: string,
  onFailure: (error: unknown) => void,
  act: () => Promise<T>,
): Promise<T> {
  try {
    return await act();
  } catch (error) {
    onFailure(error);
    if (error instanceof Unavailable) throw error;
    const code = isThrottle(error) ? 'overloaded' : 'storage_failed';
    throw new Unavailable(code, message, { cause: error });
  }
}
