import { Icon } from "@/ui/Icon";

/** What lies on the x axis: steps, time, or the values of another series at the same steps. */
export function XAxisChoice({
  value,
  series,
  time = false,
  onChange,
}: {
  value: string;
  series: readonly string[];
  /** Whether the time of day is offered; runs of different days have none in common. */
  time?: boolean;
  onChange: (value: string) => void;
}) {
  return (
    <label className="x-choice">
      x
      <span className="select-frame">
        <select
          className="select"
          aria-label="x axis"
          value={value}
          onChange={(event) => onChange(event.target.value)}
        >
          <option value="step">Step</option>
          <option value="relative">Relative time</option>
          {time && <option value="time">Time of day</option>}
          {series.length > 0 && (
            <optgroup label="Another series">
              {series.map((key) => (
                <option key={key}>{key}</option>
              ))}
            </optgroup>
          )}
        </select>
        <Icon name="chevronDown" size={14} />
      </span>
    </label>
  );
}
