/** A thin bar for a known share. */
export function Progress({ share, label, wide = false }: { share: number; label: string; wide?: boolean }) {
  const percent = Math.max(0, Math.min(100, share * 100));
  return (
    <span
      className={wide ? "progress progress-wide" : "progress"}
      role="progressbar"
      aria-label={label}
      aria-valuemin={0}
      aria-valuemax={100}
      aria-valuenow={Math.round(percent)}
    >
      <span style={{ width: `${percent}%` }} />
    </span>
  );
}

/** Solid = inside the guarantee, hatched = borrowed, black tick = guaranteed, bracket = maximum. */
export function QuotaBar({
  inUse,
  guaranteed,
  max,
  scale,
  label,
}: {
  inUse: number;
  guaranteed: number;
  max: number;
  scale?: number;
  label: string;
}) {
  const whole = Math.max(scale ?? max, max, inUse, 1);
  const part = (value: number): string => `${(100 * value) / whole}%`;
  const solid = Math.min(inUse, guaranteed);
  return (
    <span className="quota" role="img" aria-label={label}>
      <span className="quota-track" style={{ width: part(max) }} />
      <span className="quota-solid" style={{ width: part(solid) }} />
      {inUse > guaranteed && (
        <span className="quota-borrowed" style={{ left: part(solid), width: part(inUse - solid) }} />
      )}
      {guaranteed > 0 && guaranteed < max && (
        <span className="quota-tick" style={{ left: part(guaranteed) }} />
      )}
      <span className="quota-bracket" style={{ left: part(max) }} />
    </span>
  );
}
