import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";

const css = readFileSync(fileURLToPath(new URL("./tokens.css", import.meta.url)), "utf8");

function declarations(selector: RegExp): Map<string, string> {
  const found = new Map<string, string>();
  for (const block of css.matchAll(/([^{}]+)\{([^}]*)\}/g)) {
    if (!selector.test(block[1] ?? "")) continue;
    for (const line of (block[2] ?? "").matchAll(/--([\w-]+):\s*([^;]+);/g)) {
      found.set(line[1] ?? "", (line[2] ?? "").trim());
    }
  }
  return found;
}

function resolver(theme: "light" | "dark"): (role: string) => string {
  const all = new Map([...declarations(/:root/), ...declarations(new RegExp(`data-theme="${theme}"`))]);
  const resolve = (role: string): string => {
    const value = all.get(role) ?? "";
    const inner = /^var\(--([\w-]+)\)$/.exec(value);
    return inner ? resolve(inner[1] ?? "") : value;
  };
  return resolve;
}

function luminance(hex: string): number {
  const channels = [1, 3, 5].map((at) => {
    const c = parseInt(hex.slice(at, at + 2), 16) / 255;
    return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * (channels[0] ?? NaN) + 0.7152 * (channels[1] ?? NaN) + 0.0722 * (channels[2] ?? NaN);
}

function contrast(a: string, b: string): number {
  const [low, high] = [luminance(a), luminance(b)].sort((x, y) => x - y);
  return ((high ?? NaN) + 0.05) / ((low ?? NaN) + 0.05);
}

const surfaces = ["bg", "surface", "raised", "sunken", "hover", "selected"];
const texts = ["ink", "ink-2", "ink-3", "axis", "accent", "warn", "bad"];
const pairs = [
  ["accent", "accent-soft"],
  ["warn", "warn-soft"],
  ["bad", "bad-soft"],
  ["on-accent", "accent"],
  ["on-button", "button"],
  ["ink-2", "tag"],
] as const;
const graphics = ["control", "warn-graphic", "bad-graphic", "accent"];
const series = Array.from({ length: 10 }, (_, at) => `series-${at + 1}`);

describe.each(["light", "dark"] as const)("%s theme", (theme) => {
  const role = resolver(theme);

  it.each(texts.flatMap((text) => surfaces.map((surface) => [text, surface] as const)))(
    "%s on %s reaches 4.5:1",
    (text, surface) => {
      expect(contrast(role(text), role(surface))).toBeGreaterThanOrEqual(4.5);
    },
  );

  it.each(pairs)("%s on %s reaches 4.5:1", (text, surface) => {
    expect(contrast(role(text), role(surface))).toBeGreaterThanOrEqual(4.5);
  });

  it.each([...graphics, ...series].map((name) => [name] as const))("%s on surface reaches 3:1", (name) => {
    expect(contrast(role(name), role("surface"))).toBeGreaterThanOrEqual(3);
  });
});
