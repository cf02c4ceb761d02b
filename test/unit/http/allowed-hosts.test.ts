import { describe, expect, it } from 'vitest';

import { hostRule } from '../../../src/http/app/allowed-hosts.ts';

const localHosts = [
  ...['localhost', 'localhost:8080', 'LOCALHOST', 'localhost.', 'LocalHost.:8080', 'a.localhost'],
  ...['127.0.0.1', '127.0.0.1:8080', '127.9.9.9', '127.0.0.1.', '[::1]', '[::1]:8080'],
  ...['[0:0:0:0:0:0:0:1]', '[::ffff:127.0.0.1]', '[::FFFF:7F00:1]:80'],
];
const otherAddresses = ['192.168.1.5', '192.168.1.5:8080', '[fd00::1]', '[FD00::1]:80', '0.0.0.0'];
const otherNames = [
  ...['evil.example', 'evil.example:8080', 'evil.example.', 'localhost.evil.example', 'xlocalhost'],
  ...['localhost.localdomain', '127.0.0.1.evil.example', '127.0.0.1.nip.io', 'pipeline.1'],
  ...['1.2.3.400', '0x7f.1', 'localhost..', '[::1', '[evil]', '%6cocalhost', ':80', '.'],
];

function answered(rule: (host: string) => boolean, hosts: readonly string[]): string[] {
  return hosts.filter((host) => rule(host));
}

describe('without a token', () => {
  it.each(['127.0.0.1', '127.0.0.2', '::1', 'localhost'])(
    'a server on %s answers to names and addresses of loopback alone',
    (listensOn) => {
      const rule = hostRule(listensOn, []);
      expect(answered(rule, localHosts)).toEqual(localHosts);
      expect(answered(rule, [...otherNames, ...otherAddresses])).toEqual([]);
    },
  );

  it.each(['0.0.0.0', '::', '192.168.1.5', 'fd00::1'])(
    'a server on %s answers to any address, and to no other name',
    (listensOn) => {
      const rule = hostRule(listensOn, []);
      const addresses = [...localHosts, ...otherAddresses];
      expect(answered(rule, addresses)).toEqual(addresses);
      expect(answered(rule, otherNames)).toEqual([]);
    },
  );

  it('a server answers to the name that it listens on', () => {
    const rule = hostRule('Pipeline.lan', []);
    expect(answered(rule, ['pipeline.lan:80', 'pipeline.lan.', 'lan', 'x.pipeline.lan'])).toEqual([
      ...['pipeline.lan:80', 'pipeline.lan.'],
    ]);
  });

  it('a server answers to the names that it was given, however they are written', () => {
    const rule = hostRule('127.0.0.1', ['Pipeline.Example.', '10.0.0.7', 'fd00::7']);
    const given = ['pipeline.example', 'PIPELINE.EXAMPLE:443', '10.0.0.7:80', '[fd00::7]'];
    expect(answered(rule, given)).toEqual(given);
    expect(answered(rule, ['x.pipeline.example', '10.0.0.8', ...otherNames])).toEqual([]);
  });

  it('a server answers a request without a host, which no browser sends', () => {
    const rule = hostRule('127.0.0.1', []);
    expect([rule(undefined), rule('')]).toEqual([true, true]);
  });

  it('what was allowed before does not let in another host', () => {
    const rule = hostRule('127.0.0.1', []);
    const hosts = ['localhost', 'evil.example', 'localhost', 'evil.example', ''];
    expect(hosts.map((host) => rule(host))).toEqual([true, false, true, false, true]);
  });
});
