import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import { App, type Stack } from 'aws-cdk-lib';
import { Template } from 'aws-cdk-lib/assertions';
import { afterAll, vi } from 'vitest';

import { handlerNames } from '../../infra/stack/function-specs.ts';
import { addPipelineStack } from '../../infra/stack/pipeline-stack.ts';
import { defaultSettings, type Settings } from '../../infra/settings.ts';

export type Json = Record<string, unknown>;

export interface Resource {
  Type: string;
  Properties: Json;
  DependsOn?: string[];
  DeletionPolicy?: string;
  UpdateReplacePolicy?: string;
}

export const projectRoot = join(import.meta.dirname, '../..');

/** The flags that `cdk` would give the app. */
export const { context: cdkContext } = JSON.parse(
  readFileSync(join(projectRoot, 'cdk.json'), 'utf8'),
) as { context: Json };

// Its first use takes seconds. setting-effects.test.ts and `cdk synth` itself need it.
process.env['CDK_VALIDATION'] = 'false';

const temporaryDirectories: string[] = [];
afterAll(() => {
  for (const directory of temporaryDirectories) rmSync(directory, { recursive: true });
});

/** Creates a directory that is removed after the tests of the file. */
export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'device-pipeline-infra-'));
  temporaryDirectories.push(directory);
  return directory;
}

/** A directory with stand-ins for the bundles: the stack does not read their code. */
export function standInBundles(): string {
  const directory = temporaryDirectory();
  for (const name of handlerNames) {
    mkdirSync(join(directory, name));
    writeFileSync(join(directory, name, 'index.mjs'), `export const handler = () => '${name}';\n`);
  }
  return directory;
}

export function buildStack(overrides: Partial<Settings> = {}): { app: App; stack: Stack } {
  const app = new App({ context: cdkContext, outdir: temporaryDirectory() });
  const stack = addPipelineStack(app, { ...defaultSettings, ...overrides }, standInBundles());
  return { app, stack };
}

/** A synthesised stack, for queries about its content. */
export class Synthesized {
  readonly template: Template;
  /** The messages of the synthesis. */
  readonly messages: string;

  constructor(overrides: Partial<Settings> = {}) {
    const said = vi.spyOn(console, 'error').mockImplementation(() => undefined);
    try {
      this.template = Template.fromStack(buildStack(overrides).stack);
    } finally {
      this.messages = said.mock.calls.flat().join('\n');
      said.mockRestore();
    }
  }

  /** All resources of a type, by logical id. */
  all(type: string): Record<string, Resource> {
    return this.template.findResources(type) as Record<string, Resource>;
  }

  /** The one resource of a type whose logical id is this name with the CDK's hash. */
  one(type: string, name: string): Resource & { id: string } {
    const found = Object.entries(this.all(type)).filter(([id]) =>
      new RegExp(`^${name}[0-9A-F]{8}$`).test(id),
    );
    const [entry] = found;
    if (entry === undefined || found.length > 1) {
      throw new Error(`${found.length} resources of type ${type} are named ${name}`);
    }
    return { id: entry[0], ...entry[1] };
  }

  properties(type: string, name: string): Json {
    return this.one(type, name).Properties;
  }

  /** The intrinsic that names a resource, as others refer to it. */
  ref(type: string, name: string): { Ref: string } {
    return { Ref: this.one(type, name).id };
  }

  arn(type: string, name: string): { 'Fn::GetAtt': [string, 'Arn'] } {
    return { 'Fn::GetAtt': [this.one(type, name).id, 'Arn'] };
  }
}
