import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';

import { build } from 'esbuild';

import type { LocalStackOptions } from '../../infra/local/local-stack.ts';
import type { Synthesized } from '../../infra/local/template/synthesized-template.ts';
import type { Template } from '../../infra/local/template/template.ts';

export const modes = ['packed', 'queue', 'per-item', 'naive', 'seed'] as const;
export type Mode = (typeof modes)[number];

/** Whether the stack has other functions, without a ledger and a sweeper. */
export function isNaive(mode: Mode): boolean {
  return mode === 'naive' || mode === 'seed';
}

/** SQS delivers up to ten messages at a time, and ten is the default of an event source. */
const naiveBatchSize = 10;

/** The stack of each mode: as it is by default, with one setting changed, or with other functions. */
export async function stackOf(
  mode: Mode,
  synthesized: Synthesized,
  directory: string,
): Promise<Pick<LocalStackOptions, 'template' | 'bundlesDirectory' | 'variables'>> {
  switch (mode) {
    case 'packed':
      return synthesized;
    case 'queue':
      return { ...synthesized, variables: { SMALL_BODIES: 'queue' } };
    case 'per-item':
      return { ...synthesized, variables: { ITEMS_PER_MESSAGE: '1' } };
    case 'naive':
    case 'seed':
      return {
        template: withBatchSize(synthesized.template, naiveBatchSize),
        bundlesDirectory: await bundleNaive(directory),
        // A request of one message costs what `SendMessage` does.
        variables: { MESSAGES_PER_SEND: mode === 'seed' ? '1' : '10' },
      };
  }
}

/** The batching window stays: it fills the batches, which favours the naive mode. */
function withBatchSize(template: Template, BatchSize: number): Template {
  const Resources = Object.fromEntries(
    Object.entries(template.Resources).map(([id, resource]) => {
      if (resource.Type !== 'AWS::Lambda::EventSourceMapping') return [id, resource];
      return [id, { ...resource, Properties: { ...resource.Properties, BatchSize } }];
    }),
  );
  return { ...template, Resources };
}

async function bundleNaive(directory: string): Promise<string> {
  for (const name of ['ingest', 'process']) {
    await mkdir(join(directory, name), { recursive: true });
    await build({
      entryPoints: [join(import.meta.dirname, 'naive', `${name}.ts`)],
      outfile: join(directory, name, 'index.mjs'),
      bundle: true,
      minify: true,
      platform: 'node',
      target: 'node24',
      format: 'esm',
      mainFields: ['module', 'main'],
      banner: {
        js: "import{createRequire as __createRequire}from'node:module';const require=__createRequire(import.meta.url);",
      },
    });
  }
  return directory;
}
