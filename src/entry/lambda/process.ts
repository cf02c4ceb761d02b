import { processFunction } from './process-function.ts';

/** The entry point for Lambda. */
export const handler = processFunction(process.env);
