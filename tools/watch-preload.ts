/*
 * Loaded before the server by `npm run start:watch`. With this variable Node.js posts a message to the
 * main thread for each module that a worker loads, among the messages of the worker itself. The
 * script watches all of src, so these messages are not needed.
 */
delete process.env['WATCH_REPORT_DEPENDENCIES'];
