/** A contestant that this machine does not have. */
export class NotInstalled extends Error {
  override readonly name = 'NotInstalled';

  constructor(contestant: string) {
    super(`${contestant} is not installed: npm run bench:install installs it on Debian`);
  }
}
