import { recall, remember } from './storage.ts';

/** The themes, with the texts of their buttons. */
export const themes = [
  ['auto', 'Auto'],
  ['light', 'Light'],
  ['dark', 'Dark'],
] as const;
export type Theme = (typeof themes)[number][0];

const key = 'device-pipeline-theme';

export function theme(): Theme {
  const stored = recall('localStorage', key);
  return themes.find(([name]) => name === stored)?.[0] ?? 'auto';
}

export function setTheme(chosen: Theme): void {
  remember('localStorage', key, chosen);
  applyTheme();
}

export function applyTheme(): void {
  document.documentElement.dataset['theme'] = theme();
}
