type Place = 'sessionStorage' | 'localStorage';

/** The fallback for browsers without storage, which lasts as long as the page is open. */
const instead = new Map<string, string>();

export function recall(place: Place, key: string): string | undefined {
  try {
    return globalThis[place].getItem(key) ?? undefined;
  } catch {
    return instead.get(key);
  }
}

export function remember(place: Place, key: string, value: string | undefined): void {
  try {
    if (value === undefined) globalThis[place].removeItem(key);
    else globalThis[place].setItem(key, value);
  } catch {
    if (value === undefined) instead.delete(key);
    else instead.set(key, value);
  }
}
