import { useEffect, useRef, type ReactNode } from "react";
import { createPortal } from "react-dom";

/** Only for irreversible or costly acts, and for the palette. Focus returns to where it was. */
export function Dialog({
  title,
  onClose,
  children,
  actions,
  wide = false,
}: {
  title: string;
  onClose: () => void;
  children: ReactNode;
  actions?: ReactNode;
  wide?: boolean;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    const dialog = ref.current;
    const origin = document.activeElement;
    dialog?.showModal();
    return () => {
      dialog?.close();
      if (origin instanceof HTMLElement) origin.focus();
    };
  }, []);
  return createPortal(
    <dialog
      ref={ref}
      className={wide ? "dialog dialog-wide" : "dialog"}
      aria-label={title}
      onCancel={(event) => {
        event.preventDefault();
        onClose();
      }}
      onClick={(event) => {
        if (event.target === ref.current) onClose();
      }}
    >
      <div className="dialog-body">
        <h2>{title}</h2>
        {children}
        {actions !== undefined && <div className="dialog-actions">{actions}</div>}
      </div>
    </dialog>,
    document.body,
  );
}
