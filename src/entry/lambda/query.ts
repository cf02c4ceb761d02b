import { fileURLToPath } from 'node:url';

import { readPages } from '../pages.ts';
import { queryFunction } from './query-function.ts';

/** The dashboard is in the directory of the bundle. */
const pages = readPages(fileURLToPath(new URL('./dashboard/', import.meta.url)));

/** The entry point for Lambda. */
export const handler = queryFunction(process.env, pages);
