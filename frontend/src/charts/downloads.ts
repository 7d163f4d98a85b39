/** Files made in the browser. */

function save(name: string, url: string): void {
  const link = document.createElement("a");
  link.href = url;
  link.download = name.replaceAll("/", "-");
  link.click();
}

export function downloadText(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  save(name, url);
  window.setTimeout(() => URL.revokeObjectURL(url), 1000);
}

/** The chart as it is seen, on its surface, with a caption above. */
export function downloadPng(root: HTMLElement | null, name: string, caption: string): void {
  const canvas = root?.querySelector("canvas");
  if (canvas === null || canvas === undefined) return;
  const style = getComputedStyle(document.documentElement);
  const scale = devicePixelRatio;
  const head = 30 * scale;
  const out = document.createElement("canvas");
  out.width = canvas.width;
  out.height = canvas.height + head;
  const ctx = out.getContext("2d");
  if (ctx === null) return;
  ctx.fillStyle = style.getPropertyValue("--surface");
  ctx.fillRect(0, 0, out.width, out.height);
  ctx.fillStyle = style.getPropertyValue("--ink");
  ctx.font = `600 ${13 * scale}px "Inter Variable", sans-serif`;
  ctx.textBaseline = "middle";
  ctx.fillText(caption, 12 * scale, head / 2);
  ctx.drawImage(canvas, 0, head);
  out.toBlob((blob) => {
    if (blob === null) return;
    const url = URL.createObjectURL(blob);
    save(`${name}.png`, url);
    window.setTimeout(() => URL.revokeObjectURL(url), 1000);
  });
}
