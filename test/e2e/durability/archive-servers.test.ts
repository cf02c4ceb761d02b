import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

import { describe, expect, it } from 'vitest';

import { dataPaths } from '../../../src/engines/embedded/data-directory.ts';
import { startArchiveBucket } from '../../support/aws/archive-bucket.ts';
import { slowDown } from '../../support/aws/s3-with-conditions.ts';
import { run } from '../../support/processes/command-line.ts';
import {
  afterTest,
  newBatch,
  newClient,
  readStats,
  judge,
  seededRandom,
  ServerProcess,
  startServer,
  temporaryDirectory,
  waitCounted,
  waitUntil,
  type SpawnOptions,
} from '../../support/processes/server-process.ts';
import { itAtNight } from '../../support/run/tier.ts';

const random = seededRandom(1);

function archiveDirectory(): string {
  const path = join(temporaryDirectory(), 'archive');
  mkdirSync(path);
  return pathToFileURL(path).href;
}

async function archiveBucket() {
  const bucket = await startArchiveBucket();
  afterTest(() => bucket.stop());
  return bucket;
}

function serving(
  url: string,
  mode: 'sync' | 'async',
  env: Readonly<Record<string, string>> = {},
): SpawnOptions {
  const args = ['--archive', url, '--archive-mode', mode, '--archive-interval', '1'];
  return { args, env };
}

async function archiveOf(client: ReturnType<typeof newClient>, url: string) {
  const answer = await client.get(`${url}/readyz`);
  const { archive } = JSON.parse(answer?.text ?? '{}') as {
    archive: { lag_bytes: number; problem?: string };
  };
  return archive;
}

async function restore(url: string, dataDir: string, ...more: string[]) {
  return await run(['restore', '--from', url, '--data-dir', dataDir, ...more]);
}

describe('two servers on one archive', () => {
  it('in sync mode, the first stops when it has a batch that it could not archive', async () => {
    const url = archiveDirectory();
    const client = newClient(1);
    const [first, second] = [temporaryDirectory(), join(temporaryDirectory(), 'second')];
    const old = await startServer(first, serving(url, 'sync'));
    const before = newBatch('before', 3, random, 'before');
    expect((await client.post(old.url, before))?.status).toBe(200);
    expect(await restore(url, second)).toMatchObject({ code: 0 });
    const successor = await startServer(second, serving(url, 'sync'));

    const late = newBatch('late', 5, random, 'late');
    expect(await client.post(old.url, late)).toMatchObject({ status: 503 });
    expect((await old.server.waitExit()).code).toBe(1);
    expect(old.server.stderr).toContain(`has been taken over by the server on`);
    expect(old.server.stderr).toContain(second);

    // Its client sends the batch to the successor, where nothing is missing or counted twice.
    expect((await client.post(successor.url, late))?.status).toBe(200);
    expect((await client.post(successor.url, before))?.status).toBe(200);
    await waitCounted(client, successor.url);
    const verdictOn = judge(await readStats(client, successor.url));
    expect([verdictOn(before), verdictOn(late)]).toEqual(['once', 'once']);

    const again = new ServerProcess(first, serving(url, 'sync'));
    expect((await again.waitExit()).code).toBe(1);
    expect(again.stderr).toContain('has been taken over');
  });

  itAtNight('in async mode, the first stops at the next piece that it would ship', async () => {
    const url = archiveDirectory();
    const client = newClient(1);
    const second = join(temporaryDirectory(), 'second');
    const old = await startServer(temporaryDirectory(), serving(url, 'async'));
    expect((await client.post(old.url, newBatch('before', 3, random)))?.status).toBe(200);
    await waitUntil('the archive', async () => (await archiveOf(client, old.url)).lag_bytes === 0);
    expect(await restore(url, second)).toMatchObject({ code: 0 });
    const successor = await startServer(second, serving(url, 'async'));
    await client.post(old.url, newBatch('late', 5, random));
    expect((await old.server.waitExit()).code).toBe(1);
    expect(old.server.stderr).toContain('has been taken over');
    expect((await client.post(successor.url, newBatch('after', 2, random)))?.status).toBe(200);
  });

  it('refuses a second copy of a directory, and a directory that was restored until a time', async () => {
    const url = archiveDirectory();
    const client = newClient(1);
    const first = await startServer(temporaryDirectory(), serving(url, 'sync'));
    expect((await client.post(first.url, newBatch('one', 1, random)))?.status).toBe(200);
    await new Promise((resolve) => setTimeout(resolve, 20));
    const between = new Date().toISOString();
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect((await client.post(first.url, newBatch('two', 2, random)))?.status).toBe(200);
    const [copy, other, earlier] = ['copy', 'other', 'earlier'].map((name) =>
      join(temporaryDirectory(), name),
    ) as [string, string, string];
    expect(await restore(url, copy)).toMatchObject({ code: 0 });
    expect(await restore(url, other)).toMatchObject({ code: 0 });
    expect(await restore(url, earlier, '--until', between)).toMatchObject({ code: 0 });

    const cut = await startServer(earlier);
    const verdictOn = judge(await readStats(client, cut.url));
    const counted = [newBatch('one', 1, random), newBatch('two', 2, random)].map(verdictOn);
    expect(counted[1]).toBe('none');
    expect(counted[0]).not.toBe('none');
    cut.server.kill('SIGTERM');
    await cut.server.waitExit();

    await startServer(copy, serving(url, 'sync'));
    for (const [directory, reason] of [
      [other, 'has been taken over'],
      [earlier, 'already holds an archive of this log'],
    ] as const) {
      const refused = new ServerProcess(directory, serving(url, 'sync'));
      expect((await refused.waitExit()).code).toBe(1);
      expect(refused.stderr).toContain(reason);
    }
  });
});

describe('an archive that is away', () => {
  it('is caught up with, and delays no client in async mode', async () => {
    const { url, env, faults } = await archiveBucket();
    const client = newClient(1);
    const { url: server } = await startServer(temporaryDirectory(), serving(url, 'async', env));
    faults.faultOf = () => ({ kind: 'drop-request' });
    expect((await client.post(server, newBatch('one', 1, random)))?.status).toBe(200);
    await waitUntil('the problem', async () => {
      return (await archiveOf(client, server)).problem !== undefined;
    });
    expect((await archiveOf(client, server)).lag_bytes).toBeGreaterThan(0);
    expect((await client.post(server, newBatch('two', 1, random)))?.status).toBe(200);
    faults.faultOf = () => undefined;
    await waitUntil('the archive', async () => {
      const { lag_bytes: bytes, problem } = await archiveOf(client, server);
      return bytes === 0 && problem === undefined;
    });
  });

  it('refuses batches in sync mode, before they are stored, once it is known', async () => {
    const { url, env, faults } = await archiveBucket();
    const client = newClient(1);
    const dataDir = temporaryDirectory();
    const { url: server } = await startServer(dataDir, serving(url, 'sync', env));
    expect((await client.post(server, newBatch('one', 1, random)))?.status).toBe(200);
    faults.faultOf = () => slowDown;
    const unsure = newBatch('unsure', 1, random, 'unsure');
    const refused = await client.post(server, unsure);
    expect(refused).toMatchObject({ status: 503, headers: { 'retry-after': '5' } });
    expect(refused?.text).toContain('"code":"archive_unavailable"');
    const known = newBatch('known', 1, random);
    expect((await client.post(server, known))?.status).toBe(503);
    const unready = await client.get(`${server}/readyz`);
    expect(unready?.status).toBe(503);
    expect(unready?.text).toContain(`cannot be reached: ${url}`);

    faults.faultOf = () => undefined;
    const accepted = async () => (await client.post(server, unsure))?.status === 200;
    await waitUntil('the archive', accepted);
    await waitCounted(client, server);
    const verdictOn = judge(await readStats(client, server));
    expect([verdictOn(unsure), verdictOn(known)]).toEqual(['once', 'none']);
  });

  it('may lose replies, be slow and refuse requests in sync mode', async () => {
    const { url, env, faults } = await archiveBucket();
    const client = newClient(4);
    const { url: server } = await startServer(temporaryDirectory(), serving(url, 'sync', env));
    const chance = seededRandom(7);
    faults.faultOf = () => {
      const now = chance();
      if (now < 0.2) return { kind: 'drop-answer' };
      if (now < 0.3) return { kind: 'drop-request' };
      if (now < 0.4) return slowDown;
      return { kind: 'delay', ms: 30 };
    };
    const batches = Array.from({ length: 12 }, (_, n) => newBatch(`${n}`, 2, random, `${n}`));
    await Promise.all(
      batches.map((batch) =>
        waitUntil('an answer', async () => (await client.post(server, batch))?.status === 200),
      ),
    );
    faults.faultOf = () => undefined;
    const restored = join(temporaryDirectory(), 'restored');
    const { code } = await run(['restore', '--from', url, '--data-dir', restored], undefined, env);
    expect(code).toBe(0);
    const copy = await startServer(restored);
    const verdictOn = judge(await readStats(client, copy.url));
    expect(batches.map(verdictOn)).toEqual(batches.map(() => 'once'));
  });

  it('delays no start, even if it accepts connections and does not answer', async () => {
    const { url, env, faults } = await archiveBucket();
    const client = newClient(1);
    const answered = Promise.withResolvers<undefined>();
    faults.faultOf = () => ({ kind: 'wait', until: answered.promise });
    const { url: server } = await startServer(temporaryDirectory(), serving(url, 'async', env));
    expect((await archiveOf(client, server)).problem).toContain('no response yet');
    expect((await client.post(server, newBatch('one', 1, random)))?.status).toBe(200);
    faults.faultOf = () => undefined;
    answered.resolve(undefined);
    await waitUntil('the archive', async () => {
      const { lag_bytes: lag, problem } = await archiveOf(client, server);
      return lag === 0 && problem === undefined;
    });
  });
});

describe('an archive that cannot be used', () => {
  it('prevents a start, with what to do', async () => {
    const { url, env, faults } = await archiveBucket();
    const refusalOf = async (archive: string) => {
      const server = new ServerProcess(temporaryDirectory(), serving(archive, 'async', env));
      const { code } = await server.waitExit();
      return { code, stderr: server.stderr };
    };
    const noBucket = await refusalOf('s3://no-such-bucket/prefix');
    expect(noBucket).toMatchObject({ code: 1 });
    expect(noBucket.stderr).toContain('no-such-bucket');
    faults.ignoreConditions = true;
    const unconditional = await refusalOf(url);
    expect(unconditional).toMatchObject({ code: 1 });
    expect(unconditional.stderr).toContain('ignores If-None-Match');
    const unmounted = await refusalOf('file:///no/such/directory');
    expect(unmounted).toMatchObject({ code: 1 });
    expect(unmounted.stderr).toContain('/no/such/directory');
  });
});

describe('a restore', () => {
  it('brings back the tokens, and is refused where there is a pipeline', async () => {
    const url = archiveDirectory();
    const client = newClient(1);
    const dataDir = temporaryDirectory();
    const created = await run([
      'token',
      'create',
      '--data-dir',
      dataDir,
      '--name',
      'device',
      '--for',
      'ingest',
    ]);
    const token = created.stdout.trim();
    const { url: server } = await startServer(dataDir, serving(url, 'async'));
    const post = (to: string) =>
      fetch(`${to}/ingest`, {
        method: 'POST',
        headers: { 'content-type': 'application/json', authorization: `Bearer ${token}` },
        body: '{"processed_devices":[]}',
      });
    expect((await post(server)).status).toBe(200);
    await waitUntil('the archive', async () => {
      const restored = join(temporaryDirectory(), 'restored');
      const { stdout } = await restore(url, restored);
      if (!stdout.includes('with the tokens')) return false;
      const copy = await startServer(restored);
      expect((await client.get(`${copy.url}/readyz`))?.status).toBe(401);
      expect((await post(copy.url)).status).toBe(200);
      return true;
    });
    const refused = await restore(url, dataDir);
    expect(refused).toMatchObject({ code: 1 });
    expect(refused.stderr).toContain('holds a pipeline already');
  });
});

describe('a log that is damaged where it is not archived yet', () => {
  it('is served on, and its archive says why it stops', async () => {
    const { url, env, faults } = await archiveBucket();
    const client = newClient(1);
    const dataDir = temporaryDirectory();
    const { server, url: address } = await startServer(dataDir, serving(url, 'async', env));
    faults.faultOf = () => slowDown;
    expect((await client.post(address, newBatch('first', 40, random)))?.status).toBe(200);
    expect((await client.post(address, newBatch('second', 40, random)))?.status).toBe(200);
    // The first piece may be on its way with the first batch, but not with the second.
    const [segment = ''] = readdirSync(dataPaths(dataDir).log);
    const path = join(dataPaths(dataDir).log, segment);
    const bytes = readFileSync(path);
    const at = bytes.lastIndexOf('"state":"second"');
    const file = openSync(path, 'r+');
    writeSync(file, 'X', at + 9);
    closeSync(file);
    faults.faultOf = () => undefined;
    await waitUntil('the problem', async () => {
      return (await archiveOf(client, address)).problem?.includes('damaged') === true;
    });
    expect((await client.post(address, newBatch('third', 1, random)))?.status).toBe(200);
    server.kill('SIGTERM');
    expect((await server.waitExit()).code).toBe(0);
  });
});

describe('a restore that was interrupted', () => {
  it('is not served, and can be repeated', async () => {
    const url = archiveDirectory();
    const client = newClient(1);
    const first = await startServer(temporaryDirectory(), serving(url, 'sync'));
    expect((await client.post(first.url, newBatch('one', 1, random)))?.status).toBe(200);
    const restored = join(temporaryDirectory(), 'restored');
    // As a kill during the reading leaves it.
    mkdirSync(join(restored, 'restoring', 'log'), { recursive: true });
    const refused = new ServerProcess(restored);
    expect((await refused.waitExit()).code).toBe(1);
    expect(refused.stderr).toContain('unfinished restore');
    const token = ['token', 'create', '--data-dir', restored, '--name', 'a', '--for', 'ingest'];
    expect(await run(token)).toMatchObject({ code: 1, stdout: '' });
    const { stderr } = await run(['audit', '--data-dir', restored]);
    expect(stderr).toContain('unfinished restore');
    expect(await restore(url, restored)).toMatchObject({ code: 0 });
    await startServer(restored);
  });
});
