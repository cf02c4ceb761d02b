#!/usr/bin/env node
// In syntax of old versions of Node, so that they can report that they are too old.
'use strict';
var fs = require('fs');
var path = require('path');
// In a clone, `npm ci` installs the Node that runs the command.
var ownNode = path.join(__dirname, '../node_modules/node/bin/node');

if (Number(process.versions.node.split('.')[0]) >= 24) {
  require('./start.cjs');
} else if (fs.existsSync(ownNode)) {
  runWith(ownNode);
} else {
  process.stderr.write(
    'device-pipeline needs Node.js 24 or later, and this is ' +
      process.versions.node +
      '.\n' +
      'Install a newer one from your system or with a version manager; `node --version` shows it.\n',
  );
  process.exitCode = 1;
}

function runWith(node) {
  var child = require('child_process').spawn(node, process.argv.slice(1), { stdio: 'inherit' });
  function forward(signal) {
    child.kill(signal);
  }
  process.on('SIGTERM', forward);
  process.on('SIGHUP', forward);
  process.on('SIGINT', function (signal) {
    // A terminal sends the signal to the child, too.
    if (!process.stdin.isTTY) forward(signal);
  });
  child.on('error', function (error) {
    process.stderr.write('device-pipeline: cannot run ' + node + ': ' + error.message + '\n');
    process.exitCode = 1;
  });
  child.on('exit', function (code, signal) {
    if (signal === null) {
      process.exitCode = code;
    } else {
      process.removeAllListeners(signal);
      process.kill(process.pid, signal);
    }
  });
}
