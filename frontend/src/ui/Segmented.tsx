/** One choice of a few, all visible. Arrow keys move, as in a radio group. */
export function Segmented<T extends string>({
  label,
  value,
  options,
  onChange,
  invalid = false,
}: {
  label: string;
  value: T;
  options: readonly (readonly [T, string])[];
  onChange: (value: T) => void;
  invalid?: boolean;
}) {
  const move = (by: number): void => {
    const at = options.findIndex(([name]) => name === value);
    const next = options[(at + by + options.length) % options.length];
    if (next !== undefined) onChange(next[0]);
  };
  return (
    <div
      className={`segmented${invalid ? " segmented-invalid" : ""}`}
      role="radiogroup"
      aria-label={label}
      onKeyDown={(event) => {
        const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
        if (by === undefined) return;
        event.preventDefault();
        move(by);
        const group = event.currentTarget;
        requestAnimationFrame(() => group.querySelector<HTMLElement>("[aria-checked=true]")?.focus());
      }}
    >
      {options.map(([name, text]) => (
        <button
          key={name}
          type="button"
          role="radio"
          aria-checked={name === value}
          tabIndex={name === value ? 0 : -1}
          onClick={() => onChange(name)}
        >
          {text}
        </button>
      ))}
    </div>
  );
}
