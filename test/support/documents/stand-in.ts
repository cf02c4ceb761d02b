// Runs in place of a program on the PATH of a document's shell: it asks the test what to do.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { request } from 'node:http';

import type { Call, Reply } from './stand-ins.ts';

const [, , name = '', ...args] = process.argv;
const { STAND_INS_URL = '' } = process.env;
const call: Call = { name, args, cwd: process.cwd(), input: readFileSync(0, 'utf8') };

request(STAND_INS_URL, { method: 'POST' }, (response) => {
  let text = '';
  response.setEncoding('utf8').on('data', (piece: string) => (text += piece));
  response.on('end', () => act(JSON.parse(text) as Reply));
}).end(JSON.stringify(call));

function act({ code = 0, stdout = '', stderr = '', run }: Reply): void {
  process.stdout.write(stdout);
  process.stderr.write(stderr);
  process.exitCode = code;
  if (run === undefined) return;
  const [program, ...rest] = run;
  const { input } = call;
  const { status, error } = spawnSync(program, rest, {
    input,
    stdio: ['pipe', 'inherit', 'inherit'],
  });
  if (error !== undefined) process.stderr.write(`${program}: ${error.message}\n`);
  process.exitCode = status ?? 1;
}
