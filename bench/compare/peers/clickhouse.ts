import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { NotInstalled } from '../not-installed.ts';
import { freePort, startServer, type Started } from '../process.ts';

const binary = ['/usr/bin/clickhouse-server', '/usr/sbin/clickhouse-server'].find(existsSync);

/** ClickHouse on a directory of its own, over HTTP on the loopback address. */
export async function startClickHouse(
  dataDir: string,
): Promise<Started & { readonly address: string }> {
  if (binary === undefined) throw new NotInstalled('ClickHouse');
  const directory = join(dataDir, 'clickhouse');
  mkdirSync(directory);
  const [httpPort, tcpPort] = [await freePort(), await freePort()];
  const config = join(directory, 'config.xml');
  writeFileSync(config, configuration(directory, httpPort, tcpPort));
  writeFileSync(join(directory, 'users.xml'), users);
  const address = `http://127.0.0.1:${httpPort}`;
  const started = await startServer(binary, [`--config-file=${config}`], async () => {
    return (await fetch(`${address}/ping`)).ok;
  });
  return { ...started, address };
}

function configuration(directory: string, httpPort: number, tcpPort: number): string {
  return `<yandex>
  <logger><level>error</level><log>${directory}/log</log><errorlog>${directory}/errors</errorlog></logger>
  <listen_host>127.0.0.1</listen_host>
  <http_port>${httpPort}</http_port>
  <tcp_port>${tcpPort}</tcp_port>
  <interserver_http_port>0</interserver_http_port>
  <keep_alive_timeout>60</keep_alive_timeout>
  <max_concurrent_queries>100</max_concurrent_queries>
  <mark_cache_size>67108864</mark_cache_size>
  <path>${directory}/data/</path>
  <tmp_path>${directory}/tmp/</tmp_path>
  <users_config>${directory}/users.xml</users_config>
  <default_profile>default</default_profile>
  <default_database>default</default_database>
</yandex>
`;
}

const users = `<yandex>
  <profiles><default></default></profiles>
  <users><default><password></password><profile>default</profile><quota>default</quota>
    <networks><ip>127.0.0.1</ip></networks></default></users>
  <quotas><default></default></quotas>
</yandex>
`;

export function clickHouseVersion(): string {
  if (binary === undefined) throw new NotInstalled('ClickHouse');
  // That version of the server reports its version only after a start.
  const printed = execFileSync('dpkg-query', ['-W', '-f', '${Version}', 'clickhouse-server']);
  return `ClickHouse ${printed.toString()}`;
}
