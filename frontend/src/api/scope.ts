/** Which organisation a request without one in its path means: the page's, else the last one visited. */

const key = "stillroom.org";

export function orgInUrl(): string | null {
  const found = /^\/o\/([^/]+)/.exec(location.pathname);
  return found?.[1] === undefined ? null : decodeURIComponent(found[1]);
}

export function rememberOrg(slug: string): void {
  localStorage.setItem(key, slug);
}

export function currentOrg(): string | null {
  return orgInUrl() ?? localStorage.getItem(key);
}

export function scopedPath(path: string): string {
  if (/^\/(orgs|me|recipes)(\/|$|\?)/.test(path) || /[?&]org=/.test(path)) return path;
  const org = currentOrg();
  if (org === null) return path;
  return `${path}${path.includes("?") ? "&" : "?"}org=${encodeURIComponent(org)}`;
}
