/**
 * Maps the inputs with at most `width` calls at a time; the results are in the order of the inputs.
 * After an error it starts no further calls.
 */
export async function inParallel<T, R>(
  width: number,
  inputs: readonly T[],
  work: (input: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < inputs.length; at = next++) {
      try {
        results[at] = await work(inputs[at] as T);
      } catch (error) {
        next = inputs.length;
        throw error;
      }
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, inputs.length) }, lane));
  return results;
}
