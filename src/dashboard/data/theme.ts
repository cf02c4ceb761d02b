import type { Scheme } from './colours.ts';
import { recall, remember } from './storage.ts';

export const themes = ['auto', 'light', 'dark'] as const;
export type Theme = (typeof themes)[number];

const key = 'device-pipeline-theme';
const darkQuery = matchMedia('(prefers-color-scheme: dark)');

export function theme(): Theme {
  return themes.find((name) => name === recall('localStorage', key)) ?? 'auto';
}

export function setTheme(chosen: Theme): void {
  remember('localStorage', key, chosen);
  applyTheme();
}

export function applyTheme(): void {
  document.documentElement.dataset['theme'] = theme();
}

export function scheme(): Scheme {
  const chosen = theme();
  if (chosen !== 'auto') return chosen;
  return darkQuery.matches ? 'dark' : 'light';
}

export function onSchemeChange(listener: () => void): () => void {
  darkQuery.addEventListener('change', listener);
  return () => darkQuery.removeEventListener('change', listener);
}
