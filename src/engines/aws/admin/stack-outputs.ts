/** Returns the value of an output of one pipeline by its plain key, such as `ApiUrl`. */
export type PipelineOutputs = (key: string) => string | undefined;

/**
 * An output `…ApiUrl…` together with this one identifies a pipeline among the constructs of a
 * user's stack.
 */
const marker = 'LedgerTableName';

/**
 * Finds the outputs of a pipeline among those of its stack (infra/construct/outputs.ts writes
 * them). In the stack of an application, each key has the path of the construct before it and a
 * hash after it.
 * @param name the name of the stack; with several pipelines, `stack.pipeline`
 * @throws an Error that lists the pipelines if the name does not identify one.
 */
export function outputsOfPipeline(
  name: string,
  outputs: ReadonlyMap<string, string>,
): PipelineOutputs {
  const { stack, pipeline } = splitName(name);
  const found = [...outputs.keys()].flatMap((key) => {
    const [isApiUrl, path = '', hash = ''] = /^(.*)ApiUrl([0-9a-f]{8})?$/.exec(key) ?? [];
    return isApiUrl !== undefined && outputs.has(`${path}${marker}${hash}`) ? [{ path, hash }] : [];
  });
  const labels = found.map(({ path, hash }) => {
    const isAlone = found.filter((other) => other.path === path).length === 1;
    return isAlone ? path || defaultId : `${path}${hash}`;
  });
  const chosen = found.filter(
    (_, at) =>
      pipeline === undefined || [pipeline, pathInKeys(pipeline)].includes(labels[at] ?? ''),
  );
  const [first, ...others] = chosen;
  if (others.length > 0) {
    throw new Error(
      `The stack ${stack} has several pipelines: ${labels.join(', ')}. Name one of them, as in --stack ${stack}.${labels[0] ?? ''}.`,
    );
  }
  if (first === undefined && pipeline !== undefined) {
    const known = labels.join(', ') || 'none';
    throw new Error(`The stack ${stack} has no pipeline ${pipeline}, only ${known}.`);
  }
  const { path, hash } = first ?? { path: '', hash: '' };
  return (key) => outputs.get(`${path}${key}${hash}`);
}

/**
 * The path of a construct in the form of its output keys: the letters and digits of its ids.
 * CloudFormation allows keys of 255 characters; the name of the output and a hash follow.
 */
export function pathInKeys(ids: string): string {
  return ids.replaceAll(/[^A-Za-z0-9]/g, '').slice(0, 200);
}

/** Splits `stack.pipeline`. Names and ARNs of stacks contain no dots. */
export function splitName(name: string): { stack: string; pipeline: string | undefined } {
  const [stack = '', ...path] = name.split('.');
  // Ids of constructs may contain dots.
  return { stack, pipeline: path.length === 0 ? undefined : path.join('.') };
}

/** The id of a construct that does not appear in keys. */
const defaultId = 'Default';
