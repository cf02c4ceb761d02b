import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

import { describe, expect, it, onTestFinished } from 'vitest';

import {
  LambdaFunction,
  type FunctionObserver,
  type FunctionSettings,
  type InvocationReport,
} from '../../../infra/local/functions/lambda-runtime.ts';
import { bundles, temporaryDirectory } from './stand-ins.ts';

/** A function of this source; it is closed after the test. */
function lambda(
  source: string,
  settings: Partial<FunctionSettings> = {},
  observer: FunctionObserver = {},
): LambdaFunction {
  const created = new LambdaFunction(
    {
      ...{ name: 'process', arn: 'arn:aws:lambda:x:0:function:process', handlerName: 'handler' },
      modulePath: join(bundles({ process: source }), 'process', 'index.mjs'),
      ...{ timeoutMs: 2_000, memoryMb: 128, environmentsMax: 1, waitingMax: 100 },
      variables: (id) => ({ ENVIRONMENT_ID: id }),
      ...settings,
    },
    observer,
  );
  onTestFinished(() => created.close());
  return created;
}

async function payloadOf(called: LambdaFunction, event: unknown = {}): Promise<unknown> {
  const result = await called.invoke(JSON.stringify(event));
  if (result.kind !== 'succeeded') throw new Error(JSON.stringify(result));
  return JSON.parse(result.payload);
}

describe('a function', () => {
  it('gets its event, its own environment variables and no others, and a context', async () => {
    const called = lambda(`
      export const handler = async (event, context) => ({
        event, variables: { ...process.env },
        left: context.getRemainingTimeInMillis(),
        id: context.awsRequestId, name: context.functionName, memory: context.memoryLimitInMB,
      });`);
    expect(await payloadOf(called, { a: [1, 'ü'] })).toEqual({
      event: { a: [1, 'ü'] },
      variables: { ENVIRONMENT_ID: 'process0' },
      left: expect.toSatisfy((left: number) => left > 1_000 && left <= 2_000) as number,
      id: expect.stringMatching(/^[0-9a-f-]{36}$/) as string,
      ...{ name: 'process', memory: '128' },
    });
  });

  it('answers null where the handler returns nothing', async () => {
    expect(await payloadOf(lambda('export const handler = async () => {};'))).toBeNull();
  });

  it('is warm the second time, and never runs two events at once', async () => {
    const reports: InvocationReport[] = [];
    const called = lambda(
      `let calls = 0, running = 0;
       export const handler = async () => {
         if (++running > 1) throw new Error('two at once');
         await new Promise((resolve) => setTimeout(resolve, 20));
         running--;
         return ++calls;
       };`,
      {},
      { onReport: (report) => reports.push(report) },
    );
    expect(await Promise.all([1, 2, 3].map(() => payloadOf(called)))).toEqual([1, 2, 3]);
    expect(reports.map(({ initMs }) => initMs > 0)).toEqual([true, false, false]);
    for (const { billedMs, durationMs, initMs, outcome } of reports) {
      expect(billedMs).toBe(Math.ceil(durationMs + initMs));
      expect(durationMs).toBeGreaterThanOrEqual(18);
      expect(outcome).toBe('succeeded');
    }
  });

  it('has as many environments as are needed at a time, up to its most; others wait', async () => {
    const called = lambda(
      `export const handler = async () => {
         await new Promise((resolve) => setTimeout(resolve, 200));
         return process.env.ENVIRONMENT_ID;
       };`,
      { environmentsMax: 2 },
    );
    const ids = await Promise.all([1, 2, 3, 4].map(() => payloadOf(called)));
    expect([...new Set(ids)].sort()).toEqual(['process0', 'process1']);
  });

  it('is throttled where no more may wait', async () => {
    const called = lambda(
      'export const handler = () => new Promise((resolve) => setTimeout(resolve, 100));',
      { waitingMax: 0 },
    );
    const [first, second] = await Promise.all([called.invoke('{}'), called.invoke('{}')]);
    expect([first.kind, second.kind]).toEqual(['succeeded', 'throttled']);
  });
});

describe('errors of a function are reported like on Lambda', () => {
  it('an error, and the environment lives on', async () => {
    const called = lambda(`
      let calls = 0;
      export const handler = async () => { if (++calls === 1) throw new TypeError('no'); return calls; };`);
    expect(await called.invoke('{}')).toEqual({
      ...{ kind: 'failed', errorType: 'TypeError', errorMessage: 'no' },
    });
    expect(await payloadOf(called)).toBe(2);
  });

  it('a timeout, also of a handler that never yields, and the next one starts a new environment', async () => {
    const called = lambda(
      `let calls = 0;
       export const handler = async ({ hang }) => { calls++; while (hang); return calls; };`,
      { timeoutMs: 300 },
    );
    expect(await payloadOf(called)).toBe(1);
    expect(await called.invoke('{"hang":true}')).toMatchObject({
      ...{ kind: 'failed', errorType: 'Sandbox.Timedout' },
      errorMessage: expect.stringMatching(/Task timed out after 0\.30 seconds$/) as string,
    });
    expect(await payloadOf(called)).toBe(1);
  });

  it.each([
    ['a process that exits', 'export const handler = () => process.exit(3);', 'Runtime.ExitError'],
    [
      'more memory than it has',
      `export const handler = () => { const all = []; for (;;) all.push(new Array(1e5).fill('x' + all.length)); };`,
      'Runtime.ExitError',
    ],
    ['a module that fails', `throw new RangeError('early');`, 'RangeError'],
    ['no handler', 'export const other = 1;', 'Error'],
  ])('%s', async (_, source, errorType) => {
    const called = lambda(source, { timeoutMs: 250_000 });
    expect(await called.invoke('{}')).toMatchObject({ kind: 'failed', errorType });
    // The next event gets an environment of its own.
    expect(await called.invoke('{}')).toMatchObject({ kind: 'failed', errorType });
  });

  it('an event or an answer of more than 6 MB', async () => {
    const called = lambda('export const handler = async ({ size }) => "x".repeat(size);');
    const large = JSON.stringify({ text: 'x'.repeat(6 * 1024 * 1024) });
    expect(await called.invoke(large)).toMatchObject({ kind: 'too-large' });
    expect(await called.invoke('{"size":6291457}')).toMatchObject({
      ...{ kind: 'failed', errorType: 'Function.ResponseSizeTooLarge' },
    });
    expect(await called.invoke('{"size":6291000}')).toMatchObject({ kind: 'succeeded' });
  });

  it('a kill, in the middle of what it did', async () => {
    const outcomes: string[] = [];
    const { promise: begun, resolve: onBegun } = Promise.withResolvers<undefined>();
    const called = lambda(
      `export const handler = (what) => {
        console.log(what);
        return new Promise((resolve) => setTimeout(resolve, 20_000));
      };`,
      {},
      {
        onReport: ({ outcome }) => outcomes.push(outcome),
        onOutput: (_, text) => {
          if (text.includes('second')) onBegun(undefined);
        },
      },
    );
    expect(await called.invoke('"first"', { killAfterMs: 30 })).toMatchObject({
      ...{ kind: 'failed', errorType: 'Runtime.ExitError' },
    });
    const running = called.invoke('"second"');
    await begun;
    called.kill('process1');
    expect(await running).toMatchObject({ kind: 'failed', errorType: 'Runtime.ExitError' });
    expect(outcomes).toEqual(['killed', 'killed']);
  });

  it('nothing that it would have done later is done after a kill', async () => {
    const file = join(temporaryDirectory(), 'late');
    const called = lambda(`
      import { existsSync, writeFileSync } from 'node:fs';
      export const handler = async (path) => {
        writeFileSync(path, 'begun');
        for (;;) {
          await new Promise((resolve) => setTimeout(resolve, 1));
          writeFileSync(path, String(Number(process.hrtime.bigint() / 1_000_000n)));
        }
      };`);
    const running = called.invoke(JSON.stringify(file));
    while (!existsSync(file)) await new Promise((resolve) => setTimeout(resolve, 10));
    called.kill('process0');
    await running;
    const last = readFileSync(file, 'utf8');
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(readFileSync(file, 'utf8')).toBe(last);
  });

  it('what it writes goes to the observer', async () => {
    let written = '';
    const onOutput = (name: string, text: string) => void (written += `${name}: ${text}`);
    const called = lambda(
      `export const handler = async () => console.log('{"message":"swept"}');`,
      {},
      { onOutput },
    );
    await called.invoke('{}');
    await expect.poll(() => written).toBe('process: {"message":"swept"}\n');
  });
});
