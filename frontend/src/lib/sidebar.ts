/** Whether the sidebar is folded (remembered) and whether its drawer is open on a phone (not remembered). */

const key = "stillroom.sidebar";
let state = { collapsed: localStorage.getItem(key) === "collapsed", drawer: false };
const listeners = new Set<() => void>();

export function onSidebar(listener: () => void): () => void {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function sidebarState(): { readonly collapsed: boolean; readonly drawer: boolean } {
  return state;
}

function set(change: Partial<typeof state>): void {
  state = { ...state, ...change };
  listeners.forEach((listener) => listener());
}

export function toggleSidebar(): void {
  set({ collapsed: !state.collapsed });
  localStorage.setItem(key, state.collapsed ? "collapsed" : "open");
}

export function openDrawer(drawer: boolean): void {
  if (drawer !== state.drawer) set({ drawer });
}
