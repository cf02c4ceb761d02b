/**
 * A sample of a colour, which also shows when the reader's system replaces the colours of pages.
 */
export function Swatch({ colour, opacity }: { colour: string; opacity?: number }) {
  return (
    <svg class="swatch" viewBox="0 0 10 10" aria-hidden="true">
      <rect width="10" height="10" rx="3" fill={colour} opacity={opacity} />
    </svg>
  );
}
