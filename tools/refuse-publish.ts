import { readFileSync } from 'node:fs';

/**
 * `npm publish` runs this first and stops if it fails: only a CI job of the version's own tag may
 * publish. See "Releasing" in CONTRIBUTING.md.
 */
const manifest = new URL('../package.json', import.meta.url);
const { version } = JSON.parse(readFileSync(manifest, 'utf8')) as { version: string };
const { CI, GITHUB_REF_TYPE, GITHUB_REF_NAME } = process.env;

if (CI !== 'true' || GITHUB_REF_TYPE !== 'tag' || GITHUB_REF_NAME !== `v${version}`) {
  process.stderr.write(
    `Not published: run npm publish in a CI job of the tag v${version} (CONTRIBUTING.md, "Releasing").\n`,
  );
  process.exitCode = 1;
}
