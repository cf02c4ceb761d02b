import { readFileSync } from 'node:fs';

/** The text below the heading of a version, up to the next version; undefined if there is none. */
export function changelogSection(changelog: string, version: string): string | undefined {
  const sections = changelog.split(/^## /m);
  const section = sections.find((text) => text.startsWith(`[${version}]`));
  return section?.slice(section.indexOf('\n')).trim();
}

/** Usage: node tools/changelog-section.ts 0.1.0 */
if (import.meta.main) {
  const [version = ''] = process.argv.slice(2);
  const changelog = readFileSync(new URL('../CHANGELOG.md', import.meta.url), 'utf8');
  const section = changelogSection(changelog, version);
  if (section === undefined || section === '') {
    process.stderr.write(`CHANGELOG.md has no section for ${version}.\n`);
    process.exitCode = 1;
  } else process.stdout.write(`${section}\n`);
}
