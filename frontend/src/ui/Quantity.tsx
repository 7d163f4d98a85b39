import { formatInterval, formatValue, THIN_SPACE } from "@/lib/numbers";

/** A value with its uncertainty: never a mean without n and interval where there is one. */
export function MeanCell({ mean, halfWidth, n }: { mean: number; halfWidth: number | null; n: number }) {
  const text = formatInterval(mean, halfWidth);
  return (
    <span
      className="mean"
      title={`mean ${mean}, 95 % t interval over ${n} ${n === 1 ? "seed" : "seeds"}, n ${n}`}
    >
      <b>{text.value}</b>
      <span className="mean-half">{text.half === null ? `n${THIN_SPACE}${n}` : `± ${text.half}`}</span>
    </span>
  );
}

export function ValueText({ value }: { value: number | null }) {
  if (value === null) return <span className="quiet">–</span>;
  return (
    <span className={Number.isFinite(value) ? undefined : "bad-text"} title={String(value)}>
      {formatValue(value)}
    </span>
  );
}

/** Key figure with its label above and its unit behind. */
export function Figure({
  label,
  value,
  detail,
}: {
  label: string;
  value: string;
  detail?: string | undefined;
}) {
  return (
    <div className="figure">
      <span className="figure-label">{label}</span>
      <span className="figure-value">
        <b>{value}</b>
        {detail !== undefined && <span>{detail}</span>}
      </span>
    </div>
  );
}
