import js from '@eslint/js';
import type { Linter } from 'eslint';
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

/** The house, innermost first. A room may import from itself and from the rooms before it. */
const rooms = ['util', 'domain', 'auth', 'client', 'pipeline', 'engines', 'http', 'entry'];

/** What each room must not import: the rooms outside it, and those beside it. */
const forbidden: Record<string, string[]> = {
  util: ['domain', 'auth', 'client', 'pipeline', 'engines', 'http', 'entry'],
  auth: ['client', 'pipeline', 'engines', 'http', 'entry'],
  domain: ['auth', 'client', 'pipeline', 'engines', 'http', 'entry'],
  // Applications run it without the rest.
  client: ['util', 'auth', 'domain', 'pipeline', 'engines', 'http', 'entry'],
  pipeline: ['client', 'engines', 'http', 'entry'],
  engines: ['client', 'http', 'entry'],
  http: ['client', 'engines', 'entry'],
  entry: [],
};

/** Modules of Node that act on the world; the domain is pure and may use none of them. */
const effects = '^node:(?!buffer$|crypto$|util$)';

const boundaries = rooms.flatMap((room) => {
  const regexes = [
    ...(forbidden[room] ?? []).map((outer) => ({
      regex: `^\\.{1,2}/(?:.*/)?${outer}/`,
      message: `src/${room} must not import from src/${outer}: dependencies point inward.`,
    })),
    ...(room === 'domain' ? [{ regex: effects, message: 'src/domain is pure: no I/O.' }] : []),
  ];
  if (regexes.length === 0) return [];
  return [
    {
      files: [`src/${room}/**/*.ts`],
      rules: {
        'no-restricted-imports': ['error', { patterns: regexes }],
        'no-restricted-syntax': [
          'error',
          ...regexes.map(({ regex, message }) => ({
            selector: `ImportExpression[source.value=/${regex.replaceAll('/', '\\/')}/]`,
            message,
          })),
        ],
      },
    } satisfies Linter.Config,
  ];
});

export default defineConfig(
  // bin/ is plain JavaScript for old versions of Node: it has no types to check by. Those of examples/
  // are in the tarball; packed.test.ts compiles them.
  // AssemblyScript has types of its own; its compiler checks them (kernel.test.ts).
  {
    ignores: [
      'src/domain/fast/assembly/',
      'bin/',
      'examples/',
      'dist/',
      'cdk.out/',
      'node_modules/',
      'data/',
      'coverage/',
    ],
  },
  js.configs.recommended,
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: {
      parserOptions: { project: ['tsconfig.json', 'src/dashboard/tsconfig.json'] },
    },
    rules: {
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
      '@typescript-eslint/consistent-type-imports': 'error',
      'no-console': 'error',
      eqeqeq: 'error',
    },
  },
  ...boundaries,
  {
    files: ['src/**/*.ts'],
    ignores: ['src/entry/**'],
    rules: {
      'no-restricted-properties': [
        'error',
        {
          object: 'process',
          property: 'env',
          message: 'Only src/entry reads the environment.',
        },
      ],
    },
  },
);
