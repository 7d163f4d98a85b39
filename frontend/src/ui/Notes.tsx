import { useEffect, useState, type ReactNode } from "react";
import { Button } from "./Button";
import { Icon } from "./Icon";

/** One sentence on what would be here, one action, one line to copy for scripts. */
export function EmptyState({
  children,
  action,
  script,
}: {
  children: ReactNode;
  action?: ReactNode;
  script?: string;
}) {
  return (
    <div className="empty">
      <p>{children}</p>
      {action}
      {script !== undefined && (
        <code className="empty-script">
          <span>{script}</span>
          <CopyButton text={script} label="Copy the line" />
        </code>
      )}
    </div>
  );
}

interface Described {
  readonly message: string;
  readonly requestId?: string;
}

/** What failed, what to do, and the request id to quote; the rest of the page goes on. */
export function ErrorNote({ error, retry }: { error: unknown; retry?: () => void }) {
  const described: Described = error instanceof Error ? error : { message: "The request failed." };
  const id = described.requestId ?? "";
  return (
    <div className="error-note" role="alert">
      <Icon name="bad" />
      <div>
        <p>{described.message}</p>
        {id !== "" && (
          <p className="quiet">
            Request <code>{id}</code> <CopyButton text={id} label="Copy the request id" />
          </p>
        )}
      </div>
      {retry !== undefined && (
        <Button small onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** Grey lines in the final layout, after 200 ms, so that quick answers do not flicker. */
export function Skeleton({ lines = 6 }: { lines?: number }) {
  const [shown, show] = useState(false);
  useEffect(() => {
    const timer = window.setTimeout(() => show(true), 200);
    return () => window.clearTimeout(timer);
  }, []);
  return (
    <div className="skeleton" aria-busy="true" aria-label="Loading">
      {shown && Array.from({ length: lines }, (_, at) => <span key={at} />)}
    </div>
  );
}

export function CopyButton({ text, label }: { text: string; label: string }) {
  const [done, setDone] = useState(false);
  return (
    <button
      type="button"
      className="copy"
      aria-label={label}
      title={done ? "Copied" : label}
      onClick={(event) => {
        event.stopPropagation();
        void navigator.clipboard.writeText(text).then(() => {
          setDone(true);
          window.setTimeout(() => setDone(false), 1500);
        });
      }}
    >
      <Icon name={done ? "check" : "copy"} size={13} />
    </button>
  );
}

/** Ids are shown in mono and copied by click. */
export function Id({ id }: { id: string }) {
  return (
    <span className="id">
      {id}
      <CopyButton text={id} label={`Copy ${id}`} />
    </span>
  );
}
