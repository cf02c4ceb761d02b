import { ingestFunction } from './ingest-function.ts';

/** What Lambda calls. */
export const handler = ingestFunction(process.env);
