'use strict';
const { existsSync } = require('node:fs');
const { join } = require('node:path');

// A clone runs from its source; the package contains only the bundle.
const isClone = existsSync(join(__dirname, '../src/entry/cli.ts'));
const hasDependencies = existsSync(join(__dirname, '../node_modules/commander'));
if (isClone && !hasDependencies) {
  process.stderr.write('device-pipeline: the dependencies are missing; run `npm ci` first\n');
  process.exitCode = 1;
} else {
  import(isClone ? '../src/entry/cli.ts' : '../dist/cli/cli.js');
}
