import { ingestFunction } from './ingest-function.ts';

/** The entry point for Lambda. */
export const handler = ingestFunction(process.env);
