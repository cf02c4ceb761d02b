'use strict';
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const cli = join(__dirname, '../dist/cli/cli.js');
if (existsSync(cli)) {
  import('../dist/cli/cli.js');
} else {
  process.stderr.write(
    'device-pipeline is not built here; in a clone use `npm start`, `npm run device-pipeline -- --help`,\n' +
      'or `npm run build:package` first.\n',
  );
  process.exitCode = 1;
}
