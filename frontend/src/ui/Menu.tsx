import { useEffect, useId, useRef, useState, type ReactNode } from "react";

/** A button that opens a small raised panel; Escape and a click outside close it, focus returns to the button. */
export function Menu({
  label,
  button,
  children,
  align = "left",
  className = "button button-plain",
}: {
  label: string;
  button: ReactNode;
  children: (close: () => void) => ReactNode;
  align?: "left" | "right";
  className?: string;
}) {
  const [open, setOpen] = useState(false);
  const id = useId();
  const root = useRef<HTMLDivElement>(null);
  const opener = useRef<HTMLButtonElement>(null);
  useEffect(() => {
    if (!open) return;
    const away = (event: PointerEvent): void => {
      if (event.target instanceof Node && root.current?.contains(event.target) === false) setOpen(false);
    };
    document.addEventListener("pointerdown", away);
    const button = opener.current;
    return () => {
      document.removeEventListener("pointerdown", away);
      // The focus was inside and fell to the body when the menu went.
      if (document.activeElement === document.body) button?.focus();
    };
  }, [open]);
  const close = (): void => setOpen(false);
  return (
    <div
      className="menu-root"
      ref={root}
      onKeyDown={(event) => {
        if (event.key === "Escape" && open) {
          event.stopPropagation();
          event.preventDefault();
          close();
        }
      }}
    >
      <button
        ref={opener}
        type="button"
        className={className}
        aria-label={label}
        aria-expanded={open}
        aria-controls={id}
        onClick={() => setOpen(!open)}
      >
        {button}
      </button>
      {open && (
        <div id={id} className={`menu menu-${align}`} role="group" aria-label={label}>
          {children(close)}
        </div>
      )}
    </div>
  );
}
