/** From a recipe's JSON Schema (2020-12, as pydantic writes it) to the fields that a form shows. Pure. */

import { isObject, type Json, type JsonObject } from "@/lib/paths";

interface Base {
  /** Dotted path inside the spec: `optimizer.lr`. */
  readonly path: string;
  readonly title: string;
  readonly help: string;
  readonly unit: string;
  readonly section: string;
  readonly advanced: boolean;
  readonly required: boolean;
  readonly initial: Json | undefined;
}

export interface NumberField extends Base {
  readonly kind: "number";
  readonly integer: boolean;
  readonly minimum: number | null;
  readonly maximum: number | null;
  readonly above: number | null;
  readonly below: number | null;
  readonly multipleOf: number | null;
  readonly format: string;
}

export interface TextField extends Base {
  readonly kind: "text";
  readonly minLength: number;
  readonly maxLength: number | null;
  readonly pattern: string | null;
}

export interface SwitchField extends Base {
  readonly kind: "switch";
}

export interface ChoiceField extends Base {
  readonly kind: "choice";
  readonly options: readonly Json[];
}

/** The tag of a union's variant: shown by the union itself. */
export interface ConstField extends Base {
  readonly kind: "const";
  readonly value: Json;
}

export interface GroupField extends Base {
  readonly kind: "group";
  readonly fields: readonly Field[];
}

export interface Variant {
  readonly tag: string;
  readonly help: string;
  readonly fields: readonly Field[];
}

export interface UnionField extends Base {
  readonly kind: "union";
  readonly discriminator: string;
  readonly variants: readonly Variant[];
}

export interface OptionalField extends Base {
  readonly kind: "optional";
  readonly inner: Field;
}

export interface ListField extends Base {
  readonly kind: "list";
  readonly item: Field;
  readonly minItems: number;
  readonly maxItems: number | null;
}

/** Anything else is edited as JSON text. */
export interface RawField extends Base {
  readonly kind: "raw";
}

export type Field =
  | NumberField
  | TextField
  | SwitchField
  | ChoiceField
  | ConstField
  | GroupField
  | UnionField
  | OptionalField
  | ListField
  | RawField;

export interface Section {
  readonly name: string;
  readonly fields: readonly Field[];
}

function text(value: Json | undefined): string {
  return typeof value === "string" ? value : "";
}

function numberOf(value: Json | undefined): number | null {
  return typeof value === "number" ? value : null;
}

function listOf(value: Json | undefined): readonly Json[] {
  return Array.isArray(value) ? (value as readonly Json[]) : [];
}

/** snake_case as words. */
export function asWords(name: string): string {
  return name.replaceAll("_", " ");
}

function sentenceCase(name: string): string {
  const words = asWords(name);
  return words.charAt(0).toUpperCase() + words.slice(1);
}

function without(schema: JsonObject, ...keys: string[]): JsonObject {
  return Object.fromEntries(Object.entries(schema).filter(([key]) => !keys.includes(key)));
}

class Reader {
  constructor(private readonly root: JsonObject) {}

  /** A schema with its reference followed; what stands beside the reference wins. */
  private resolve(schema: JsonObject): JsonObject {
    const ref = text(schema["$ref"]);
    if (ref === "") return schema;
    const found = ref
      .replace(/^#\//, "")
      .split("/")
      .reduce<Json | undefined>((here, part) => (isObject(here) ? here[part] : undefined), this.root);
    const beside = without(schema, "$ref");
    return isObject(found) ? { ...this.resolve(found), ...beside } : beside;
  }

  properties(schema: JsonObject, prefix: string): Field[] {
    const resolved = this.resolve(schema);
    const required = new Set(listOf(resolved["required"]));
    const properties = isObject(resolved["properties"]) ? resolved["properties"] : {};
    return Object.entries(properties).map(([name, property]) =>
      this.field(
        isObject(property) ? property : {},
        prefix === "" ? name : `${prefix}.${name}`,
        required.has(name),
      ),
    );
  }

  field(raw: JsonObject, path: string, required: boolean): Field {
    const schema = this.resolve(raw);
    const name = path.split(".").at(-1) ?? path;
    const base: Base = {
      path,
      title: text(schema["title"]) === "" ? sentenceCase(name) : text(schema["title"]),
      help: text(schema["description"]),
      unit: text(schema["unit"]),
      section: text(schema["section"]),
      advanced: schema["advanced"] === true,
      required,
      initial: schema["default"],
    };
    const inner = this.withoutNull(schema);
    if (inner !== null) {
      return { ...base, kind: "optional", inner: this.field({ ...inner, title: base.title }, path, true) };
    }
    const variants = listOf(schema["oneOf"]);
    const discriminator = isObject(schema["discriminator"])
      ? text(schema["discriminator"]["propertyName"])
      : "";
    if (variants.length > 0 && discriminator !== "") return this.union(base, discriminator, variants);
    if (schema["const"] !== undefined) return { ...base, kind: "const", value: schema["const"] };
    const options = listOf(schema["enum"]);
    if (options.length > 0) return { ...base, kind: "choice", options };
    return this.byType(schema, base);
  }

  private withoutNull(schema: JsonObject): JsonObject | null {
    const options = listOf(schema["anyOf"]).filter(isObject);
    const others = options.filter((option) => option["type"] !== "null");
    const [only] = others;
    if (options.length !== 2 || others.length !== 1 || only === undefined) return null;
    return { ...this.resolve(only), ...without(schema, "anyOf", "default") };
  }

  private union(base: Base, discriminator: string, variants: readonly Json[]): UnionField {
    return {
      ...base,
      kind: "union",
      discriminator,
      variants: variants.filter(isObject).map((variant) => {
        const fields = this.properties(variant, base.path);
        const tag = fields.find((field) => field.path.endsWith(`.${discriminator}`));
        return {
          tag: tag?.kind === "const" ? text(tag.value) : "",
          help:
            tag?.help !== undefined && tag.help !== ""
              ? tag.help
              : text(this.resolve(variant)["description"]),
          fields: fields.filter((field) => field !== tag),
        };
      }),
    };
  }

  private byType(schema: JsonObject, base: Base): Field {
    switch (schema["type"]) {
      case "integer":
      case "number":
        return {
          ...base,
          kind: "number",
          integer: schema["type"] === "integer",
          minimum: numberOf(schema["minimum"]),
          maximum: numberOf(schema["maximum"]),
          above: numberOf(schema["exclusiveMinimum"]),
          below: numberOf(schema["exclusiveMaximum"]),
          multipleOf: numberOf(schema["multipleOf"]),
          format: text(schema["x-format"]),
        };
      case "boolean":
        return { ...base, kind: "switch" };
      case "string":
        return {
          ...base,
          kind: "text",
          minLength: numberOf(schema["minLength"]) ?? 0,
          maxLength: numberOf(schema["maxLength"]),
          pattern: typeof schema["pattern"] === "string" ? schema["pattern"] : null,
        };
      case "object":
        return isObject(schema["properties"])
          ? { ...base, kind: "group", fields: this.properties(schema, base.path) }
          : { ...base, kind: "raw" };
      case "array":
        return isObject(schema["items"])
          ? {
              ...base,
              kind: "list",
              item: this.field({ title: base.title, ...schema["items"] }, `${base.path}.0`, true),
              minItems: numberOf(schema["minItems"]) ?? 0,
              maxItems: numberOf(schema["maxItems"]),
            }
          : { ...base, kind: "raw" };
      default:
        return { ...base, kind: "raw" };
    }
  }
}

/** Sections in the order in which the schema first names them; what names none is "General". */
export function sectionsOf(schema: JsonObject): Section[] {
  const sections = new Map<string, Field[]>();
  for (const field of new Reader(schema).properties(schema, "")) {
    const name = field.section === "" ? "General" : field.section;
    sections.set(name, [...(sections.get(name) ?? []), field]);
  }
  return [...sections].map(([name, fields]) => ({ name, fields }));
}

/** The value that a field starts with: its default, or what its own fields start with. */
export function initialOf(field: Field): Json | undefined {
  if (field.initial !== undefined) return field.initial;
  if (field.kind === "group") return initialObject(field.fields);
  if (field.kind === "union")
    return field.variants[0] === undefined ? undefined : variantValue(field, field.variants[0]);
  if (field.kind === "const") return field.value;
  if (field.kind === "optional") return null;
  if (field.kind === "list") return [];
  return undefined;
}

export function initialObject(fields: readonly Field[]): JsonObject {
  const value: Record<string, Json> = {};
  for (const field of fields) {
    const start = initialOf(field);
    if (start !== undefined) value[field.path.split(".").at(-1) ?? ""] = start;
  }
  return value;
}

export function variantValue(field: UnionField, variant: Variant): JsonObject {
  return { [field.discriminator]: variant.tag, ...initialObject(variant.fields) };
}

export function variantOf(field: UnionField, value: Json | undefined): Variant | undefined {
  const tag = isObject(value) ? value[field.discriminator] : undefined;
  return field.variants.find((variant) => variant.tag === tag);
}
