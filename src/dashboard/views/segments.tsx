/** A group of buttons, one of them pressed. */
export function Segments<Value extends string>({
  label,
  choices,
  chosen,
  disabled,
  onChoose,
}: {
  label: string;
  choices: readonly (readonly [value: Value, text: string])[];
  chosen: Value | undefined;
  disabled?: Value | undefined;
  onChoose: (value: Value) => void;
}) {
  return (
    <div class="segments" role="group" aria-label={label}>
      {choices.map(([value, text]) => (
        <button
          type="button"
          aria-pressed={chosen === value}
          disabled={disabled === value}
          onClick={() => onChoose(value)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}
