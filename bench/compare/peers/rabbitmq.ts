import { execFileSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { connect } from 'amqplib';

import { NotInstalled } from '../not-installed.ts';
import { freePort, startServer, type Started } from '../process.ts';

/** The wrapper in /usr/sbin changes to another user, who may not write into our directory. */
const binary = '/usr/lib/rabbitmq/bin/rabbitmq-server';

/** RabbitMQ on a directory of its own, with an Erlang port mapper of its own. */
export async function startRabbitMq(
  dataDir: string,
): Promise<Started & { readonly address: string }> {
  rabbitMqVersion();
  const [port, distribution, mapper] = [await freePort(), await freePort(), await freePort()];
  const names = { ERL_EPMD_PORT: String(mapper), ERL_EPMD_ADDRESS: '127.0.0.1' };
  // Otherwise Erlang starts one in the background, which would outlive the run.
  const epmd = await startServer('epmd', [], () => Promise.resolve(true), names);
  const config = join(dataDir, 'rabbitmq.conf');
  writeFileSync(config, `listeners.tcp.local = 127.0.0.1:${port}\n`);
  const env = {
    ...names,
    HOME: dataDir,
    RABBITMQ_NODENAME: `bench${port}@localhost`,
    RABBITMQ_DIST_PORT: String(distribution),
    RABBITMQ_CONFIG_FILE: config,
    RABBITMQ_MNESIA_BASE: join(dataDir, 'rabbitmq'),
    RABBITMQ_LOG_BASE: join(dataDir, 'rabbitmq-log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(dataDir, 'plugins'),
  };
  const address = `amqp://127.0.0.1:${port}`;
  try {
    const isReady = async () => {
      await (await connect(address)).close();
      return true;
    };
    const server = await startServer(binary, [], isReady, env);
    return {
      address,
      pid: server.pid,
      async stop() {
        await server.stop();
        await epmd.stop();
      },
    };
  } catch (error) {
    await epmd.stop();
    throw error;
  }
}

export function rabbitMqVersion(): string {
  if (!existsSync(binary)) throw new NotInstalled('RabbitMQ');
  const printed = execFileSync('dpkg-query', ['-W', '-f', '${Version}', 'rabbitmq-server']);
  return `RabbitMQ ${/^[\d.]+/.exec(printed.toString())?.[0]}`;
}
