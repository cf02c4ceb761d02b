import { processFunction } from './process-function.ts';

/** What Lambda calls. */
export const handler = processFunction(process.env);
