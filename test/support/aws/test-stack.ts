import { randomUUID } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

import { inject } from 'vitest';

import {
  startLocalStack,
  type LocalStack,
  type LocalStackOptions,
} from '../../../infra/local/local-stack.ts';
import {
  synthesizedTemplate,
  type Synthesized,
} from '../../../infra/local/template/synthesized-template.ts';
import { openEmulators } from './aws-store.ts';
import { checkDocumented, isCommand } from './command-permissions.ts';
import type { AwsCall } from '../../../infra/local/emulators/wire-call.ts';

/** Shorter than the timeout of hooks. */
const synthesisMsMax = 500_000;

/**
 * A local stack with tables of its own in the run's DynamoDB Local, if it has one. Node compiles the
 * code of its functions once, not for each of their environments. Its stop fails if a function lacked a
 * permission, or if a command needed one that docs/deploying.md does not name.
 */
export async function startTestStack(options: LocalStackOptions): Promise<LocalStack> {
  const { NODE_COMPILE_CACHE = '' } = process.env;
  const commandCalls: AwsCall[] = [];
  const stack = await startLocalStack({
    ...options,
    observeCall(call, reply) {
      if (isCommand(call)) commandCalls.push(call);
      options.observeCall?.(call, reply);
    },
    resourcePrefix: `test-${randomUUID().slice(0, 8)}`,
    emulators: await openEmulators(),
    variables: { NODE_COMPILE_CACHE, ...options.variables },
  });
  return {
    ...stack,
    async stop(graceMs) {
      await stack.stop(graceMs);
      if (stack.refusals.size > 0) throw new Error([...stack.refusals].join('; '));
      checkDocumented(commandCalls, stack.description);
    },
  };
}

/**
 * The stack of the CDK app, which processes each message at once, without a batch window. The first
 * test file that needs it synthesises it for all others.
 */
export async function promptTemplate(): Promise<Synthesized> {
  const path = join(inject('runDirectory'), 'prompt-template.json');
  if (isFirst(`${path}.lock`)) {
    const template = await synthesizedTemplate({
      ...{ batchSize: 10, batchWindowSeconds: 0 },
      // The local stack has neither, also where a clone's settings have them.
      ...{ functionUrl: 'on', athena: 'on' },
    });
    await writeFile(`${path}.draft`, JSON.stringify(template));
    await rename(`${path}.draft`, path);
    return template;
  }
  const deadline = Date.now() + synthesisMsMax;
  for (;;) {
    const text = await readFile(path, 'utf8').catch(() => undefined);
    if (text !== undefined) return JSON.parse(text) as Synthesized;
    if (Date.now() > deadline) throw new Error('The stack was not synthesised');
    await delay(200);
  }
}

/** Whether this call created the directory. */
function isFirst(directory: string): boolean {
  return mkdirSync(directory, { recursive: true }) !== undefined;
}
