import { fileURLToPath } from 'node:url';

import { readPages } from '../pages.ts';
import { queryFunction } from './query-function.ts';

/** The dashboard lies beside the bundle. */
const pages = readPages(fileURLToPath(new URL('./dashboard/', import.meta.url)));

/** What Lambda calls. */
export const handler = queryFunction(process.env, pages);
