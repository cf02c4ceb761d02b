/** A name that filters to itself. */
export function NameButton({ name, onClick }: { name: string; onClick: () => void }) {
  return (
    <button type="button" class="name" title={`Show only ${name}`} onClick={onClick}>
      <bdi>{name}</bdi>
    </button>
  );
}
