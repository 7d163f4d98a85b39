import { useEffect, useState, useSyncExternalStore } from "react";
import { Button } from "./Button";
import { Icon } from "./Icon";
import { currentToasts, dismiss, onToasts, type Toast } from "./toasts";

const SHOWN_MS = 6_000;

export function Toasts() {
  const toasts = useSyncExternalStore(onToasts, currentToasts);
  return (
    <div className="toasts" role="status" aria-live="polite">
      {toasts.map((toast) => (
        <ToastLine key={toast.id} toast={toast} />
      ))}
    </div>
  );
}

function ToastLine({ toast }: { toast: Toast }) {
  const [held, hold] = useState(false);
  useEffect(() => {
    if (held || toast.bad) return;
    const timer = window.setTimeout(() => dismiss(toast.id), SHOWN_MS);
    return () => window.clearTimeout(timer);
  }, [held, toast]);
  return (
    <div
      className={toast.bad ? "toast toast-bad" : "toast"}
      onPointerEnter={() => hold(true)}
      onPointerLeave={() => hold(false)}
      onFocus={() => hold(true)}
      onBlur={() => hold(false)}
    >
      {toast.bad && <Icon name="bad" />}
      <span>{toast.text}</span>
      {toast.action !== null && (
        <Button
          look="quiet"
          small
          onClick={() => {
            toast.action?.run();
            dismiss(toast.id);
          }}
        >
          {toast.action.label}
        </Button>
      )}
      <Button look="quiet" small icon="close" aria-label="Dismiss" onClick={() => dismiss(toast.id)} />
    </div>
  );
}
