const segment = /^[a-z0-9.-]+$/;

/**
 * Whether an archive can have an object of this name. Lists leave out all others, because people and
 * file systems put files of their own into an archive (`lost+found`, `README.txt`).
 */
export function isObjectName(name: string): boolean {
  return name.split('/').every((part) => segment.test(part) && part !== '.' && part !== '..');
}
