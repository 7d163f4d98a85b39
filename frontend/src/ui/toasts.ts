/** One line, bottom right; never the only place where something is said. */

export interface Toast {
  readonly id: number;
  readonly text: string;
  readonly bad: boolean;
  readonly action: { readonly label: string; readonly run: () => void } | null;
}

let toasts: readonly Toast[] = [];
let nextId = 1;
const listeners = new Set<() => void>();

function publish(next: readonly Toast[]): void {
  toasts = next;
  listeners.forEach((listener) => listener());
}

export function onToasts(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function currentToasts(): readonly Toast[] {
  return toasts;
}

export function say(text: string, action: Toast["action"] = null): void {
  publish([...toasts, { id: nextId++, text, bad: false, action }].slice(-4));
}

export function sayError(error: unknown): void {
  const text = error instanceof Error ? error.message : "Something failed, and the server did not say what.";
  publish([...toasts, { id: nextId++, text, bad: true, action: null }].slice(-4));
}

export function dismiss(id: number): void {
  publish(toasts.filter((toast) => toast.id !== id));
}
