import { describe, expect, it } from "vitest";
import type { Json, JsonObject } from "@/lib/paths";
import { changes, getAt, leaves, mergeJson, setAt } from "@/lib/paths";
import { initialObject, sectionsOf, variantOf, variantValue, type Field } from "./model";
import { fieldErrors, parseNumber, parseSeeds, rangeWords } from "./validate";

const schema: JsonObject = {
  $defs: {
    Adam: {
      type: "object",
      description: "Adam with decoupled weight decay.",
      properties: {
        kind: { const: "adam", default: "adam", type: "string", description: "The usual one." },
        lr: {
          type: "number",
          exclusiveMinimum: 0,
          maximum: 10,
          default: 0.003,
          title: "Learning rate",
          "x-format": "log",
        },
      },
    },
    Sgd: {
      type: "object",
      properties: {
        kind: { const: "sgd", default: "sgd", type: "string" },
        momentum: { type: "number", minimum: 0, exclusiveMaximum: 1, default: 0.9, advanced: true },
      },
    },
    Target: { type: "object", properties: { value: { type: "number" } }, required: ["value"] },
    Size: { type: "object", properties: { layers: { type: "integer", minimum: 1 } }, required: ["layers"] },
  },
  type: "object",
  properties: {
    optimizer: {
      default: { kind: "adam", lr: 0.003 },
      discriminator: { propertyName: "kind", mapping: {} },
      oneOf: [{ $ref: "#/$defs/Adam" }, { $ref: "#/$defs/Sgd" }],
      section: "Optimizer",
      title: "Optimizer",
    },
    steps: { type: "integer", minimum: 1, default: 480, unit: "steps", section: "Budget" },
    decay: { enum: ["none", "linear"], default: "linear", type: "string", section: "Budget" },
    target: {
      anyOf: [{ $ref: "#/$defs/Target" }, { type: "null" }],
      default: null,
      title: "Target",
      section: "Budget",
    },
    hidden: { type: "array", items: { type: "integer", minimum: 1 }, default: [64], maxItems: 2 },
    student: { $ref: "#/$defs/Size", title: "Student", description: "The smaller model.", section: "Model" },
    extra: { type: "object", additionalProperties: true, default: {} },
  },
};

const sections = sectionsOf(schema);
const fields = sections.flatMap((section) => section.fields);
const field = (path: string): Field => {
  const found = fields.find((one) => one.path === path);
  if (found === undefined) throw new Error(path);
  return found;
};
const errorsOf = (spec: Json): Record<string, string> =>
  Object.fromEntries(fields.flatMap((one) => [...fieldErrors(one, spec, {})]));

describe("the form model", () => {
  it("keeps sections in the order of the schema", () => {
    expect(sections.map((section) => section.name)).toEqual(["Optimizer", "Budget", "General", "Model"]);
  });

  it("knows each kind of field", () => {
    expect(fields.map((one) => one.kind)).toEqual([
      "union",
      "number",
      "choice",
      "optional",
      "list",
      "raw",
      "group",
    ]);
  });

  it("follows references, and what stands beside one wins", () => {
    expect(field("student")).toMatchObject({ title: "Student", help: "The smaller model.", kind: "group" });
  });

  it("gives a union's variants their own fields without the tag", () => {
    const union = field("optimizer");
    expect(
      union.kind === "union" &&
        union.variants.map((variant) => [variant.tag, variant.fields.map((one) => one.path)]),
    ).toEqual([
      ["adam", ["optimizer.lr"]],
      ["sgd", ["optimizer.momentum"]],
    ]);
    expect(union.kind === "union" && variantOf(union, { kind: "sgd" })?.fields[0]?.advanced).toBe(true);
    expect(union.kind === "union" && union.variants[1] && variantValue(union, union.variants[1])).toEqual({
      kind: "sgd",
      momentum: 0.9,
    });
  });

  it("starts from the defaults", () => {
    expect(initialObject(fields)).toEqual({
      optimizer: { kind: "adam", lr: 0.003 },
      steps: 480,
      decay: "linear",
      target: null,
      hidden: [64],
      student: {},
      extra: {},
    });
  });
});

describe("validation", () => {
  const good: Json = {
    optimizer: { kind: "adam", lr: 0.01 },
    steps: 10,
    decay: "none",
    target: null,
    hidden: [4],
    student: { layers: 2 },
    extra: {},
  };

  it("finds nothing wrong with a good spec", () => {
    expect(errorsOf(good)).toEqual({});
  });

  it.each([
    ["optimizer.lr", 0, "Must be above 0 and at most 10."],
    ["steps", 1.5, "Must be a whole number."],
    ["steps", 0, "Must be at least 1."],
    ["hidden", [4, 0], "Each value: must be at least 1."],
    ["hidden", [1, 2, 3], "Must have at most 2 values."],
    ["optimizer", { kind: "lion" }, "Choose one."],
    ["student", {}, "This field is required."],
    ["target", {}, "This field is required."],
  ] as const)("%s = %j is refused", (path, value, message) => {
    expect(Object.values(errorsOf(setAt(good, path, value)))).toEqual([message]);
  });

  it("says what range is allowed", () => {
    const union = field("optimizer");
    const lr = union.kind === "union" ? union.variants[0]?.fields[0] : undefined;
    expect(lr?.kind === "number" && rangeWords(lr)).toBe("above 0 and at most 10");
  });

  it.each([
    ["3e-4", 3e-4],
    ["1,500", 1500],
    [" 0.5 ", 0.5],
    ["-2", -2],
    ["", null],
    ["1.2.3", null],
    ["ten", null],
  ])("%j reads as %j", (text, value) => {
    expect(parseNumber(text)).toBe(value);
  });

  it.each([
    ["0", [0]],
    ["0 to 4", [0, 1, 2, 3, 4]],
    ["0-2, 7", [0, 1, 2, 7]],
    ["1, 1", [1]],
    ["4 to 0", null],
    ["a", null],
    ["", null],
  ])("seeds %j are %j", (text, seeds) => {
    expect(parseSeeds(text)).toEqual(seeds);
  });
});

describe("paths", () => {
  const value: Json = { a: { b: [1, { c: 2 }] }, d: "x" };

  it("reads and writes without touching the original", () => {
    expect(getAt(value, "a.b.1.c")).toBe(2);
    expect(setAt(value, "a.b.1.c", 3)).toEqual({ a: { b: [1, { c: 3 }] }, d: "x" });
    expect(setAt(value, "d", undefined)).toEqual({ a: { b: [1, { c: 2 }] } });
    expect(getAt(value, "a.b.1.c")).toBe(2);
  });

  it("lists leaves and changes", () => {
    expect(leaves({ a: { b: 1 }, c: [1, 2], d: {} })).toEqual([
      ["a.b", 1],
      ["c", [1, 2]],
      ["d", {}],
    ]);
    expect(changes({ a: 1, b: 2 }, { a: 1, b: 3, c: 4 })).toEqual([
      { path: "b", before: 2, after: 3 },
      { path: "c", before: undefined, after: 4 },
    ]);
    expect(mergeJson({ a: { b: 1, c: 2 } }, { a: { c: 3 } })).toEqual({ a: { b: 1, c: 3 } });
  });
});
