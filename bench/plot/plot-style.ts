/** In light mode; `styled` tells what each becomes in dark mode. */
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

/** Seen well on either paper, and told apart with most kinds of colour blindness. */
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
 * The library's SVG as a document that stands by itself: what is for pointing and for scripts
 * goes (its names count up within a process), and the reader's colour scheme is followed.
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
