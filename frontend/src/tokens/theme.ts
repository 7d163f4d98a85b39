/** The theme follows the system until it is set; what was set is remembered. theme.js applies it before the first paint. */

export type ThemeChoice = "system" | "light" | "dark";

const key = "stillroom.theme";
const darkQuery = "(prefers-color-scheme: dark)";
const listeners = new Set<() => void>();

export function themeChoice(): ThemeChoice {
  const stored = localStorage.getItem(key);
  return stored === "light" || stored === "dark" ? stored : "system";
}

export function themeNow(): "light" | "dark" {
  return document.documentElement.dataset["theme"] === "dark" ? "dark" : "light";
}

function apply(): void {
  const choice = themeChoice();
  const dark = choice === "dark" || (choice === "system" && matchMedia(darkQuery).matches);
  document.documentElement.dataset["theme"] = dark ? "dark" : "light";
  listeners.forEach((listener) => listener());
}

export function chooseTheme(choice: ThemeChoice): void {
  if (choice === "system") localStorage.removeItem(key);
  else localStorage.setItem(key, choice);
  apply();
}

/** For useSyncExternalStore: canvas colours are read again when the theme turns. */
export function onThemeChange(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function followSystemTheme(): void {
  matchMedia(darkQuery).addEventListener("change", apply);
}
