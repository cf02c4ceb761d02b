/** Up for 1, down for -1, nothing for 0. Drawn, because not every font has arrows. */
export function Arrow({ sign }: { sign: number }) {
  if (sign === 0) return null;
  return (
    <svg class="arrow" viewBox="0 0 10 10" aria-hidden="true">
      <path d={sign > 0 ? 'M5 1 9 9H1z' : 'M5 9 1 1h8z'} />
    </svg>
  );
}
