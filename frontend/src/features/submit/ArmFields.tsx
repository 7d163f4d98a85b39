import { useState } from "react";
import { inputId } from "@/forms/SpecForm";
import { plural } from "@/lib/numbers";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { Swatch } from "@/ui/Swatch";
import { crossed, variablePaths, variedArms, type DraftArm } from "./arms";
import type { Draft } from "./draft";

interface ArmsProps {
  readonly draft: Draft;
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (change: Partial<Draft>) => void;
}

/** The arms of a study: what each changes in the spec above. None means that only the seed differs. */
export function ArmFields({ draft, errors, onChange }: ArmsProps) {
  const { arms } = draft;
  const put = (next: readonly DraftArm[]): void => onChange({ arms: next });
  return (
    <section className="form-section" id="section-arms" aria-label="Arms">
      <h2>Arms</h2>
      <p className="second arms-help">
        {arms.length === 0
          ? "One arm: the spec above. Add arms to compare variants of it under the same seeds."
          : "Each arm is the spec above with its own changes, one a line. The first arm is the baseline."}
      </p>
      {arms.map((arm, at) => (
        <ArmRow
          // An arm has no other identity than its place while it is being written.
          key={at}
          at={at}
          arm={arm}
          error={errorOf(errors, at)}
          onChange={(change) =>
            put(arms.map((other, place) => (place === at ? { ...other, ...change } : other)))
          }
          onRemove={() => put(arms.filter((_, place) => place !== at))}
        />
      ))}
      <div className="row arms-tools">
        <Button
          small
          icon="plus"
          onClick={() => put([...arms, { name: `arm ${arms.length + 1}`, changes: "" }])}
        >
          Add an arm
        </Button>
        {arms.length > 0 && (
          <Button small look="quiet" onClick={() => onChange({ arms: [], template: "" })}>
            Remove all
          </Button>
        )}
      </div>
      <Vary draft={draft} onChange={onChange} />
    </section>
  );
}

function errorOf(errors: ReadonlyMap<string, string>, at: number): string | null {
  const place = `arms.${at}`;
  for (const [path, text] of errors) {
    if (path === place) return text;
    if (path.startsWith(`${place}.`))
      return `${path.slice(place.length + 1).replace(/^spec\./, "")}: ${text}`;
  }
  return null;
}

function ArmRow({
  at,
  arm,
  error,
  onChange,
  onRemove,
}: {
  at: number;
  arm: DraftArm;
  error: string | null;
  onChange: (change: Partial<DraftArm>) => void;
  onRemove: () => void;
}) {
  const id = inputId(`arms.${at}`);
  const rows = Math.max(1, arm.changes.split("\n").length);
  return (
    <div className="arm-row" id={id}>
      <Swatch index={at} />
      <input
        className="input"
        aria-label={`Name of arm ${at + 1}`}
        value={arm.name}
        aria-invalid={error !== null}
        onChange={(event) => onChange({ name: event.target.value })}
      />
      <textarea
        className="input arm-changes"
        aria-label={`Changes of ${arm.name}`}
        aria-invalid={error !== null}
        aria-describedby={error === null ? undefined : `${id}-error`}
        spellCheck={false}
        rows={rows}
        placeholder="nothing: the spec as it is"
        value={arm.changes}
        onChange={(event) => onChange({ changes: event.target.value })}
      />
      <button type="button" className="copy" aria-label={`Remove ${arm.name}`} onClick={onRemove}>
        <Icon name="close" size={14} />
      </button>
      {error !== null && (
        <p className="form-help form-error" id={`${id}-error`}>
          {error}
        </p>
      )}
    </div>
  );
}

/** One field, several values: as many arms. With arms there already, every combination. */
function Vary({ draft, onChange }: Omit<ArmsProps, "errors">) {
  const [path, choose] = useState("");
  const [values, write] = useState("");
  const paths = variablePaths(draft.spec);
  const field = paths.includes(path) ? path : "";
  const added = field === "" ? [] : variedArms(field, values);
  const next = crossed(draft.arms, added);
  return (
    <div className="arms-vary">
      <span className="second">Vary</span>
      <span className="select-frame">
        <select
          className="select"
          aria-label="Field to vary"
          value={field}
          onChange={(event) => choose(event.target.value)}
        >
          <option value="">a field</option>
          {paths.map((one) => (
            <option key={one}>{one}</option>
          ))}
        </select>
        <Icon name="chevronDown" size={14} />
      </span>
      <input
        className="input"
        aria-label="Values, with commas"
        placeholder="0.003, 0.01, 0.03"
        value={values}
        onChange={(event) => write(event.target.value)}
      />
      <Button
        small
        disabled={added.length === 0 || next.length > 100}
        onClick={() => {
          onChange({ arms: next, template: "" });
          write("");
        }}
      >
        {added.length === 0 ? "Make arms" : `Make ${plural(next.length, "arm")}`}
      </Button>
    </div>
  );
}
