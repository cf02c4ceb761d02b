/** The results in the order of the inputs, at most `width` being worked on at a time. */
export async function inParallel<T, R>(
  width: number,
  inputs: readonly T[],
  work: (input: T) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async () => {
    for (let at = next++; at < inputs.length; at = next++) {
      results[at] = await work(inputs[at] as T);
    }
  };
  await Promise.all(Array.from({ length: Math.min(width, inputs.length) }, lane));
  return results;
}
