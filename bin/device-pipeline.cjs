#!/usr/bin/env node
// Written so that old versions of Node can read it, and say what is wrong.
'use strict';
var major = Number(process.versions.node.split('.')[0]);
if (major >= 24) {
  require('./start.cjs');
} else {
  process.stderr.write(
    'device-pipeline needs Node.js 24 or later, and this is ' +
      process.versions.node +
      '.\n' +
      'Install a newer one from your system or with a version manager; `node --version` shows it.\n',
  );
  process.exitCode = 1;
}
