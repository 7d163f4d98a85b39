import { useState } from "react";
import { formatConfigNumber } from "@/lib/numbers";
import { getAt, isObject, sameJson, type Json, type JsonObject } from "@/lib/paths";
import { Icon } from "@/ui/Icon";
import { Control } from "./Control";
import "./forms.css";
import { variantOf, type Field, type Section } from "./model";
import type { Texts } from "./validate";

export interface FormContext {
  readonly spec: JsonObject;
  readonly texts: Texts;
  /** The spec of the run this one is cloned from. */
  readonly parent: JsonObject | null;
  /** Errors that may be shown now, by path. */
  readonly errors: ReadonlyMap<string, string>;
  readonly onChange: (path: string, value: Json | undefined) => void;
  readonly onText: (path: string, text: string | null) => void;
  readonly onBlur: (path: string) => void;
}

export function inputId(path: string): string {
  return `field-${path.replaceAll(".", "-")}`;
}

export function sectionId(name: string): string {
  return `section-${name.toLowerCase().replaceAll(/\W+/g, "-")}`;
}

/** One section of the form, drawn from the schema; what is advanced is folded away until it is asked for or wrong. */
export function SectionForm({ section, form }: { section: Section; form: FormContext }) {
  const [open, setOpen] = useState(false);
  const plain = section.fields.filter((field) => !field.advanced);
  const advanced = section.fields.filter((field) => field.advanced);
  return (
    <section className="form-section" id={sectionId(section.name)} aria-label={section.name}>
      <h2>{section.name}</h2>
      {plain.map((field) => (
        <FieldRows key={field.path} field={field} form={form} />
      ))}
      <Advanced fields={advanced} form={form} open={open} onOpen={setOpen} />
    </section>
  );
}

function needsEye(field: Field, form: FormContext): boolean {
  const inside = (path: string): boolean => path === field.path || path.startsWith(`${field.path}.`);
  const changed =
    form.parent !== null && !sameJson(getAt(form.parent, field.path), getAt(form.spec, field.path));
  return changed || [...form.errors.keys()].some(inside);
}

function Advanced({
  fields,
  form,
  open,
  onOpen,
}: {
  fields: readonly Field[];
  form: FormContext;
  open: boolean;
  onOpen: (open: boolean) => void;
}) {
  if (fields.length === 0) return null;
  const shown = open ? fields : fields.filter((field) => needsEye(field, form));
  const hidden = fields.length - shown.length;
  return (
    <>
      {shown.map((field) => (
        <FieldRows key={field.path} field={field} form={form} />
      ))}
      <div className="form-row">
        <span />
        <button type="button" className="form-more" aria-expanded={open} onClick={() => onOpen(!open)}>
          <Icon name={open ? "chevronDown" : "chevronRight"} size={13} />
          {open ? "Fewer fields" : `${hidden} advanced ${hidden === 1 ? "field" : "fields"}`}
        </button>
      </div>
    </>
  );
}

/** A field's row, and below it the rows of what it contains. */
function FieldRows({ field, form }: { field: Field; form: FormContext }) {
  if (field.kind === "const") return null;
  if (field.kind === "group")
    return <GroupRows title={field.title} help={field.help} fields={field.fields} form={form} />;
  if (field.kind === "union") {
    const variant = variantOf(field, getAt(form.spec, field.path));
    return (
      <>
        <FieldRow field={field} form={form} help={variant?.help ?? field.help} />
        {variant !== undefined && <Inner fields={variant.fields} form={form} key={variant.tag} />}
      </>
    );
  }
  if (field.kind === "optional") {
    const value = getAt(form.spec, field.path);
    const inner = field.inner;
    const deep = inner.kind === "group" || inner.kind === "union";
    return (
      <>
        <FieldRow field={field} form={form} help={field.help} />
        {deep && value !== null && value !== undefined && inner.kind === "group" && (
          <Inner fields={inner.fields} form={form} />
        )}
        {deep && value !== null && value !== undefined && inner.kind === "union" && (
          <FieldRows field={inner} form={form} />
        )}
      </>
    );
  }
  return <FieldRow field={field} form={form} help={field.help} />;
}

function Inner({ fields, form }: { fields: readonly Field[]; form: FormContext }) {
  const [open, setOpen] = useState(false);
  return (
    <>
      {fields
        .filter((field) => !field.advanced)
        .map((field) => (
          <FieldRows key={field.path} field={field} form={form} />
        ))}
      <Advanced fields={fields.filter((field) => field.advanced)} form={form} open={open} onOpen={setOpen} />
    </>
  );
}

function GroupRows({
  title,
  help,
  fields,
  form,
}: {
  title: string;
  help: string;
  fields: readonly Field[];
  form: FormContext;
}) {
  return (
    <div className="form-group" role="group" aria-label={title}>
      <h3>
        {title} <span className="quiet">{help}</span>
      </h3>
      <Inner fields={fields} form={form} />
    </div>
  );
}

function FieldRow({ field, form, help }: { field: Field; form: FormContext; help: string }) {
  const id = inputId(field.path);
  const error = form.errors.get(field.path);
  const before = form.parent === null ? undefined : getAt(form.parent, field.path);
  const changed =
    before !== undefined &&
    !sameJson(shownPart(field, before), shownPart(field, getAt(form.spec, field.path)));
  return (
    <div className={error === undefined ? "form-row" : "form-row form-row-bad"}>
      <label htmlFor={id} id={`${id}-label`} title={field.path}>
        {field.title}
      </label>
      <div className="form-value">
        <Control field={field} form={form} id={id} invalid={error !== undefined} />
        <p id={`${id}-help`} className={error === undefined ? "form-help" : "form-help form-error"}>
          {error ?? help}
          {changed && <ParentValue field={field} value={before} />}
        </p>
      </div>
    </div>
  );
}

/** Of a union only the tag stands in its own row. */
function shownPart(field: Field, value: Json | undefined): Json | undefined {
  return field.kind === "union" && isObject(value) ? value[field.discriminator] : value;
}

function ParentValue({ field, value }: { field: Field; value: Json }) {
  const part = shownPart(field, value);
  const text =
    typeof part === "number"
      ? formatConfigNumber(part)
      : typeof part === "string"
        ? part
        : JSON.stringify(part);
  return <span className="form-parent"> The parent has {text}.</span>;
}
