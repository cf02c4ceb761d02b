/** The colours in light mode; `styled` maps each to its colour in dark mode. */
export const ink = {
  paper: '#ffffff',
  text: '#1f2328',
  faint: '#59636e',
  grid: '#e1e4e8',
} as const;

const darkInk: Record<keyof typeof ink, string> = {
  paper: '#0d1117',
  text: '#e6edf3',
  faint: '#9198a1',
  grid: '#272d36',
};

/** Legible on both backgrounds, and distinguishable with most kinds of colour blindness. */
export const palette = [
  '#3b82d6',
  '#e0752d',
  '#2a9d6f',
  '#c2498f',
  '#8b6fd6',
  '#a8870a',
  '#d64545',
  '#4f93a5',
];

const font = `system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', sans-serif`;

/**
 * Makes the library's SVG a standalone document: removes attributes for pointers and scripts (their names
 * count up within a process), and follows the reader's colour scheme.
 */
export function styled(svg: string): string {
  return svg
    .replace(/<style >.*<\/style>\s*/s, '')
    .replace(/ (?:class|ecmeta_\w+|pointer-events|baseProfile|xmlns:xlink)="[^"]*"/g, '')
    .replaceAll('font-family:sans-serif;', '')
    .replace(/zr\d+-/g, '')
    .replace('>', ` role="img">\n<style>${styleSheet()}</style>`)
    .concat('\n');
}

function styleSheet(): string {
  const dark = (Object.keys(ink) as (keyof typeof ink)[]).flatMap((name) =>
    ['fill', 'stroke'].map((what) => `[${what}="${ink[name]}"]{${what}:${darkInk[name]}}`),
  );
  return `text{font-family:${font}}@media (prefers-color-scheme:dark){${dark.join('')}}`;
}
