/** Which organisation a request without one in its path means: the page's, else the last one visited. */

const key = "stillroom.org";

export function rememberOrg(slug: string): void {
  localStorage.setItem(key, slug);
}

export function currentOrg(): string | null {
  const found = /^\/o\/([^/]+)/.exec(location.pathname);
  return found?.[1] === undefined ? localStorage.getItem(key) : decodeURIComponent(found[1]);
}
