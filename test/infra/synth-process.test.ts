import { execFile } from 'node:child_process';
import { readFileSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, test } from 'vitest';

import { itAtNight } from '../support/run/tier.ts';
import { projectRoot, temporaryDirectory } from './support.ts';

interface Finished {
  code: number;
  stdout: string;
  stderr: string;
}

/**
 * Runs `cdk synth` as on a machine that has only Node.js: no Docker on the PATH, no home with
 * settings of AWS, no variables but that of Node's compile cache.
 */
async function synthesize(outdir: string, ...options: string[]): Promise<Finished> {
  const bin = temporaryDirectory();
  symlinkSync(process.execPath, join(bin, 'node'));
  const cdk = join(projectRoot, 'node_modules/aws-cdk/bin/cdk');
  const argv = [cdk, 'synth', '--output', outdir, ...options];
  const { NODE_COMPILE_CACHE } = process.env;
  const env = { PATH: bin, HOME: temporaryDirectory(), NODE_COMPILE_CACHE };
  return await new Promise((resolve) => {
    execFile(process.execPath, argv, { cwd: projectRoot, env }, (error, stdout, stderr) =>
      resolve({ code: Number(error?.code ?? 0), stdout, stderr }),
    );
  });
}

describe('cdk synth, without Docker and without an AWS account', () => {
  itAtNight('bundles the handlers and writes the template', async () => {
    const outdir = temporaryDirectory();
    const { code, stdout, stderr } = await synthesize(outdir);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toContain('Type: AWS::Lambda::Function');

    const template = JSON.parse(
      readFileSync(join(outdir, 'device-pipeline.template.json'), 'utf8'),
    ) as { Resources: Record<string, { Type: string; Metadata?: Record<string, string> }> };
    const functions = Object.values(template.Resources).filter(
      ({ Type }) => Type === 'AWS::Lambda::Function',
    );
    expect(functions).toHaveLength(4);
    for (const { Metadata: metadata } of functions) {
      const asset = join(outdir, metadata?.['aws:asset:path'] ?? '', 'index.mjs');
      expect(readFileSync(asset, 'utf8')).toMatch(/export\s*\{/);
    }
  });

  test('reports all invalid settings, without a stack trace', async () => {
    const { code, stdout, stderr } = await synthesize(
      temporaryDirectory(),
      ...['-c', 'tokens=maybe', '-c', 'batchSiez=10', '-c', 'throttleRate=0'],
    );
    expect(code).not.toBe(0);
    expect(stdout).toBe('');
    expect(stderr.split('\n')).toEqual([
      'There is no setting batchSiez; did you mean batchSize?',
      "throttleRate must be a whole number from 1 to 100000, got '0'.",
      "tokens must be 'on' or 'off', got 'maybe'.",
      expect.stringContaining('exited with error 1'),
      '',
    ]);
  });
});
