/** A bar in a row of a table. */
export function Bar({ share, colour }: { share: number; colour: string }) {
  return (
    <svg class="inline-bar" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect width={Math.max(share > 0 ? 1 : 0, share * 100)} height="10" rx="1" fill={colour} />
    </svg>
  );
}
