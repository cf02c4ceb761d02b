import { queryFunction } from './query-function.ts';

/** What Lambda calls. */
export const handler = queryFunction(process.env);
