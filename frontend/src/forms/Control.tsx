import { useRef, useState } from "react";
import { formatConfigNumber } from "@/lib/numbers";
import { getAt, isObject, type Json, type JsonObject } from "@/lib/paths";
import { Icon } from "@/ui/Icon";
import { Segmented } from "@/ui/Segmented";
import {
  asWords,
  initialObject,
  initialOf,
  variantOf,
  variantValue,
  type Field,
  type UnionField,
} from "./model";
import type { FormContext } from "./SpecForm";
import { parseNumber } from "./validate";

interface ControlProps<F extends Field> {
  readonly field: F;
  readonly form: FormContext;
  readonly id: string;
  readonly invalid: boolean;
}

/** The input for one value, by its kind. */
export function Control({ field, form, id, invalid }: ControlProps<Field>) {
  const value = getAt(form.spec, field.path);
  switch (field.kind) {
    case "number":
      return (
        <TextInput
          field={field}
          form={form}
          id={id}
          invalid={invalid}
          read={parseNumber}
          show={numberText}
          numeric
        />
      );
    case "list":
      return (
        <TextInput
          field={field}
          form={form}
          id={id}
          invalid={invalid}
          read={(text) => parseList(field.item, text)}
          show={listText}
        />
      );
    case "raw":
      return (
        <TextInput
          field={field}
          form={form}
          id={id}
          invalid={invalid}
          read={parseJson}
          show={(raw) => JSON.stringify(raw ?? null)}
        />
      );
    case "text":
      return (
        <TextInput
          field={field}
          form={form}
          id={id}
          invalid={invalid}
          read={(text) => text}
          show={(raw) => (typeof raw === "string" ? raw : "")}
        />
      );
    case "switch":
      return (
        <Choice
          field={field}
          form={form}
          id={id}
          invalid={invalid}
          options={[
            ["true", "on"],
            ["false", "off"],
          ]}
          chosen={String(value === true)}
          onPick={(text) => form.onChange(field.path, text === "true")}
        />
      );
    case "choice":
      return (
        <Choice
          field={field}
          form={form}
          id={id}
          invalid={invalid}
          options={field.options.map(
            (option) =>
              [
                JSON.stringify(option),
                typeof option === "string" ? asWords(option) : JSON.stringify(option),
              ] as const,
          )}
          chosen={JSON.stringify(value ?? null)}
          onPick={(text) => form.onChange(field.path, JSON.parse(text) as Json)}
        />
      );
    case "union":
      return <UnionControl field={field} form={form} id={id} invalid={invalid} />;
    case "optional":
      return <OptionalControl field={field} form={form} id={id} invalid={invalid} />;
    case "group":
    case "const":
      return null;
  }
}

function numberText(value: Json | undefined): string {
  return typeof value === "number" ? formatConfigNumber(value) : "";
}

function listText(value: Json | undefined): string {
  return Array.isArray(value)
    ? (value as readonly Json[])
        .map((one) =>
          typeof one === "number"
            ? formatConfigNumber(one)
            : typeof one === "string"
              ? one
              : JSON.stringify(one),
        )
        .join(", ")
    : "";
}

function parseList(item: Field, text: string): Json | null {
  if (item.kind !== "number" && item.kind !== "text" && item.kind !== "choice") return parseJson(text);
  const parts = text
    .split(",")
    .map((part) => part.trim())
    .filter((part) => part !== "");
  if (item.kind !== "number") return parts;
  const numbers = parts.map(parseNumber);
  return numbers.every((one) => one !== null) ? numbers : null;
}

function parseJson(text: string): Json | null {
  try {
    return JSON.parse(text) as Json;
  } catch {
    return null;
  }
}

/** Keeps what was typed while it has the focus, so that "3e-4" is not rewritten under the cursor. */
function TextInput({
  field,
  form,
  id,
  invalid,
  read,
  show,
  numeric = false,
}: ControlProps<Field> & {
  read: (text: string) => Json | null;
  show: (value: Json | undefined) => string;
  numeric?: boolean;
}) {
  const [draft, setDraft] = useState<string | null>(null);
  const text = draft ?? form.texts[field.path] ?? show(getAt(form.spec, field.path));
  return (
    <span className="input-frame">
      <input
        id={id}
        className={field.kind === "raw" ? "input mono" : "input"}
        type="text"
        inputMode={numeric ? "decimal" : undefined}
        autoComplete="off"
        spellCheck={false}
        value={text}
        aria-invalid={invalid}
        aria-describedby={`${id}-help`}
        onChange={(event) => {
          const typed = event.target.value;
          setDraft(typed);
          const value = read(typed);
          if (value === null) form.onText(field.path, typed);
          else {
            form.onText(field.path, null);
            form.onChange(field.path, value);
          }
        }}
        onBlur={() => {
          setDraft(null);
          form.onBlur(field.path);
        }}
      />
      {field.unit !== "" && <span className="input-unit">{field.unit}</span>}
    </span>
  );
}

const MOST_SEGMENTS = 4;
const MOST_LETTERS = 44;

function Choice({
  field,
  form,
  id,
  invalid,
  options,
  chosen,
  onPick,
}: ControlProps<Field> & {
  options: readonly (readonly [string, string])[];
  chosen: string;
  onPick: (value: string) => void;
}) {
  const letters = options.reduce((sum, [, text]) => sum + text.length, 0);
  if (options.length <= MOST_SEGMENTS && letters <= MOST_LETTERS) {
    return (
      <div id={id} tabIndex={-1}>
        <Segmented label={field.title} value={chosen} options={options} onChange={onPick} invalid={invalid} />
      </div>
    );
  }
  return (
    <span className="select-frame">
      <select
        id={id}
        className="select"
        value={chosen}
        aria-invalid={invalid}
        aria-describedby={`${id}-help`}
        onChange={(event) => onPick(event.target.value)}
        onBlur={() => form.onBlur(field.path)}
      >
        {options.map(([value, text]) => (
          <option key={value} value={value}>
            {text}
          </option>
        ))}
      </select>
      <Icon name="chevronDown" size={14} />
    </span>
  );
}

/** Another variant brings its own defaults; going back brings back what was there. */
function UnionControl({ field, form, id, invalid }: ControlProps<UnionField>) {
  const memory = useRef(new Map<string, JsonObject>());
  const value = getAt(form.spec, field.path);
  const chosen = variantOf(field, value);
  return (
    <Choice
      field={field}
      form={form}
      id={id}
      invalid={invalid}
      options={field.variants.map((variant) => [variant.tag, asWords(variant.tag)] as const)}
      chosen={chosen?.tag ?? ""}
      onPick={(tag) => {
        const variant = field.variants.find((one) => one.tag === tag);
        if (variant === undefined || variant === chosen) return;
        if (chosen !== undefined && isObject(value)) memory.current.set(chosen.tag, value);
        const parent = form.parent === null ? undefined : getAt(form.parent, field.path);
        const fromParent = variantOf(field, parent) === variant ? parent : undefined;
        form.onChange(field.path, memory.current.get(tag) ?? fromParent ?? variantValue(field, variant));
      }}
    />
  );
}

function OptionalControl({ field, form, id, invalid }: ControlProps<Extract<Field, { kind: "optional" }>>) {
  const value = getAt(form.spec, field.path);
  const set = value !== null && value !== undefined;
  const { inner } = field;
  const start = (): Json =>
    initialOf(inner) ??
    (inner.kind === "group"
      ? initialObject(inner.fields)
      : inner.kind === "number"
        ? (inner.minimum ?? 0)
        : "");
  return (
    <div className="form-optional">
      <Segmented
        label={`${field.title}: set or not`}
        value={set ? "set" : "none"}
        options={[
          ["none", "none"],
          ["set", "set"],
        ]}
        onChange={(choice) => form.onChange(field.path, choice === "set" ? start() : null)}
      />
      {set && inner.kind !== "group" && inner.kind !== "union" ? (
        <Control field={{ ...inner, unit: field.unit }} form={form} id={id} invalid={invalid} />
      ) : (
        <span id={id} tabIndex={-1} />
      )}
    </div>
  );
}
