import { stateWords, type RunState } from "@/lib/runStates";

/** A state is a glyph and a word, always both; filled only for what needs an eye. */
export function StateChip({ state }: { state: RunState }) {
  return (
    <span className={`state state-${state.toLowerCase()}`}>
      <StateGlyph state={state} />
      {stateWords[state]}
    </span>
  );
}

export function StateGlyph({ state }: { state: RunState }) {
  return (
    <svg
      className="state-glyph"
      width="12"
      height="12"
      viewBox="0 0 12 12"
      aria-hidden="true"
      focusable="false"
    >
      {glyph(state)}
    </svg>
  );
}

const line = { fill: "none", stroke: "currentColor", strokeWidth: 1.4, strokeLinecap: "round" } as const;

function glyph(state: RunState) {
  switch (state) {
    case "RUNNING":
      return (
        <>
          <circle cx="6" cy="6" r="4.9" {...line} />
          <circle cx="6" cy="6" r="2.4" fill="currentColor" />
        </>
      );
    case "ASSIGNED":
    case "STARTING":
    case "STOPPING":
      return (
        <>
          <circle cx="6" cy="6" r="4.9" {...line} />
          <path d="M6 1.1a4.9 4.9 0 0 1 0 9.8z" fill="currentColor" />
        </>
      );
    case "QUEUED":
      return (
        <>
          <circle cx="6" cy="6" r="4.9" {...line} />
          <path d="M6 3.3V6.2l1.8 1" {...line} strokeLinejoin="round" />
        </>
      );
    case "HELD":
      return <path d="M4 2.5v7M8 2.5v7" {...line} strokeWidth={2} />;
    case "SUCCEEDED":
      return <path d="M1.8 6.5 4.8 9.5l5.5-6.5" {...line} strokeWidth={1.6} strokeLinejoin="round" />;
    case "FAILED":
      return (
        <>
          <path d="M3.7.5h4.6l3.2 3.2v4.6l-3.2 3.2H3.7L.5 8.3V3.7z" fill="currentColor" />
          <path d="M4.2 4.2l3.6 3.6M7.8 4.2 4.2 7.8" className="state-glyph-cut" {...line} />
        </>
      );
    case "LOST":
      return (
        <>
          <path d="M6 .8 11.6 11H.4z" fill="currentColor" />
          <path d="M6 4.5v3M6 9.2h.01" className="state-glyph-cut" {...line} />
        </>
      );
    case "CANCELLED":
      return (
        <>
          <circle cx="6" cy="6" r="4.9" {...line} />
          <path d="M2.6 9.4 9.4 2.6" {...line} />
        </>
      );
  }
}

const barOrder: readonly RunState[] = [
  "SUCCEEDED",
  "STOPPING",
  "RUNNING",
  "STARTING",
  "ASSIGNED",
  "QUEUED",
  "HELD",
  "CANCELLED",
  "LOST",
  "FAILED",
];

/** One small bar per run: ink past, accent now, outline waiting, amber lost, red failed. */
export function StateBars({
  states,
  label,
}: {
  states: Readonly<Partial<Record<RunState, number>>>;
  label: string;
}) {
  const bars = barOrder
    .flatMap((state) => Array.from({ length: states[state] ?? 0 }, () => state))
    .slice(0, 24);
  return (
    <span className="state-bars" role="img" aria-label={label}>
      {bars.map((state, at) => (
        <span key={at} className={`state-bar state-bar-${state.toLowerCase()}`} />
      ))}
    </span>
  );
}
