import { useEffect, useRef } from "react";

/** Single-letter keys of a page. Off while typing, with a dialog open, or when switched off in the help. */

export type KeyMap = Readonly<Record<string, (event: KeyboardEvent) => void>>;

const offKey = "stillroom.singleKeys";

export function singleKeysOn(): boolean {
  return localStorage.getItem(offKey) !== "off";
}

export function setSingleKeys(on: boolean): void {
  if (on) localStorage.removeItem(offKey);
  else localStorage.setItem(offKey, "off");
}

export function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      target instanceof HTMLTextAreaElement ||
      target instanceof HTMLSelectElement ||
      (target instanceof HTMLInputElement && !["checkbox", "radio", "range", "button"].includes(target.type)))
  );
}

/** "Mod+Enter", "Mod+k" work everywhere; "x", "?", "Escape" only outside fields. */
export function useKeys(map: KeyMap): void {
  const latest = useRef(map);
  useEffect(() => {
    latest.current = map;
  });
  useEffect(() => {
    const onKey = (event: KeyboardEvent): void => {
      if (event.defaultPrevented && event.key === "Escape") return;
      const mod = event.metaKey || event.ctrlKey;
      const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
      const name = mod ? `Mod+${key}` : event.shiftKey && key.length > 1 ? `Shift+${key}` : key;
      const action = latest.current[name];
      if (action === undefined || event.altKey) return;
      if (!mod) {
        if (isTyping(event.target)) return;
        if (document.querySelector("dialog[open]") !== null) return;
        if (key.length === 1 && !singleKeysOn()) return;
      }
      event.preventDefault();
      action(event);
    };
    window.addEventListener("keydown", onKey);
    return () => window.removeEventListener("keydown", onKey);
  }, []);
}

export interface Shortcut {
  /** As in KeyMap. */
  readonly key: string;
  readonly does: string;
  readonly run: () => void;
}

let shown: readonly (readonly Shortcut[])[] = [];

/** What the page on view answers to, for the `?` help. */
export function activeShortcuts(): readonly Shortcut[] {
  return shown.flat();
}

/** The keys of a page: they work, and the help lists them. */
export function useShortcuts(list: readonly Shortcut[]): void {
  useKeys(Object.fromEntries(list.map((shortcut) => [shortcut.key, shortcut.run])));
  const latest = useRef(list);
  useEffect(() => {
    shown = shown.map((one) => (one === latest.current ? list : one));
    latest.current = list;
  });
  useEffect(() => {
    shown = [...shown, latest.current];
    return () => {
      shown = shown.filter((one) => one !== latest.current);
    };
  }, []);
}
