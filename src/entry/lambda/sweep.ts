import { sweepFunction } from './sweep-function.ts';

/** The entry point for Lambda. */
export const handler = sweepFunction(process.env);
