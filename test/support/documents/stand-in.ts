// Runs in place of a program on the PATH of a document's shell: it asks the test what to do.
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';

import type { Call, Reply } from './stand-ins.ts';

const [, , name = '', ...args] = process.argv;
const { STAND_INS_PORT = '' } = process.env;
const call: Call = { name, args, cwd: process.cwd(), input: readFileSync(0, 'utf8') };

let text = '';
// A plain socket, because node:http takes longer to load than all else here.
const socket = connect(Number(STAND_INS_PORT), '127.0.0.1');
socket.setEncoding('utf8').on('data', (piece: string) => (text += piece));
socket.on('end', () => act(JSON.parse(text) as Reply));
socket.end(JSON.stringify(call));

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
