const progress =
  /^(?:\d+% {2}.*|[\d,]+ (?:items accepted|batches, [\d,]+ bytes|(?:MiB|bodies) \w+|batches sent, [\d,]+ already there))\n/gm;

/** What a command said on stderr without the lines that it prints only if it takes five seconds. */
export function withoutProgress(stderr: string): string {
  return stderr.replaceAll(progress, '');
}
