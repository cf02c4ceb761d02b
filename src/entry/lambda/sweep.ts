import { sweepFunction } from './sweep-function.ts';

/** What Lambda calls. */
export const handler = sweepFunction(process.env);
