import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useEffect, useId, useRef, useState } from "react";
import type { ApiError } from "@/api/http";
import { completionQuery } from "@/api/runs";
import { Icon } from "@/ui/Icon";
import "./query.css";

/** Typing rests this long before the list is asked for again. */
const PAUSE_MS = 250;

/** The query language in one line: what may come next at the cursor, and where a query cannot be understood. */
export function QueryBox({
  org,
  project,
  value,
  onChange,
  error,
  count,
}: {
  org: string;
  project: string;
  value: string;
  onChange: (text: string) => void;
  /** Why the list could not be had, when it was the query's fault. */
  error: ApiError | null;
  count: string;
}) {
  const id = useId();
  const [text, setText] = useState(value);
  const [sent, setSent] = useState(value);
  const [seen, setSeen] = useState(value);
  // The link changed by other means than typing here: going back, or a filter that was cleared.
  if (value !== seen) {
    setSeen(value);
    if (value !== sent) {
      setSent(value);
      setText(value);
    }
  }
  useEffect(() => {
    if (text === sent) return;
    const timer = window.setTimeout(() => {
      setSent(text);
      onChange(text);
    }, PAUSE_MS);
    return () => window.clearTimeout(timer);
  }, [text, sent, onChange]);
  const input = useRef<HTMLInputElement>(null);
  const [at, setAt] = useState(text.length);
  const [open, setOpen] = useState(false);
  const [active, setActive] = useState(-1);
  const asked = useDeferredValue(text);
  const place = useDeferredValue(at);
  const completion = useQuery({ ...completionQuery(org, project, asked, place), enabled: open });
  const items = open ? (completion.data?.items ?? []).slice(0, 12) : [];
  const start = completion.data?.start ?? 0;

  const accept = (index: number): void => {
    const item = items[index];
    if (item === undefined) return;
    const before = text.slice(0, Math.min(start, at));
    const after = text.slice(at);
    const written = `${before}${item.insert}${after.startsWith(" ") ? "" : " "}${after}`;
    const next = before.length + item.insert.length + 1;
    setText(written);
    setAt(next);
    setActive(-1);
    requestAnimationFrame(() => {
      input.current?.focus();
      input.current?.setSelectionRange(next, next);
    });
  };
  const move = (by: number): void => {
    setOpen(true);
    setActive(
      items.length === 0 ? -1 : (active + by + items.length + (active < 0 && by < 0 ? 1 : 0)) % items.length,
    );
  };
  const drawn = error?.caret ?? "";

  return (
    <div className="query-root">
      <div className={error === null ? "query" : "query query-bad"}>
        <Icon name="search" size={14} />
        <label className="visually-hidden" htmlFor="run-query">
          Find runs by words, or by a query such as metrics.loss &lt; 0.5
        </label>
        <input
          id="run-query"
          ref={input}
          type="search"
          role="combobox"
          aria-expanded={items.length > 0}
          aria-controls={`${id}-list`}
          aria-activedescendant={active >= 0 ? `${id}-${active}` : undefined}
          aria-autocomplete="list"
          aria-invalid={error !== null}
          aria-describedby={error === null ? undefined : `${id}-error`}
          autoComplete="off"
          spellCheck={false}
          placeholder="Words, or metrics.eval/loss < 0.5 AND state = SUCCEEDED"
          value={text}
          onChange={(event) => {
            setText(event.target.value);
            setAt(event.target.selectionStart ?? event.target.value.length);
            setActive(-1);
            setOpen(true);
          }}
          onSelect={(event) => setAt(event.currentTarget.selectionStart ?? text.length)}
          onFocus={() => setOpen(true)}
          onBlur={() => setOpen(false)}
          onKeyDown={(event) => {
            if (event.key === "ArrowDown" || event.key === "ArrowUp") {
              event.preventDefault();
              move(event.key === "ArrowDown" ? 1 : -1);
            } else if ((event.key === "Enter" || event.key === "Tab") && active >= 0) {
              event.preventDefault();
              accept(active);
            } else if (event.key === "Escape") {
              if (items.length > 0) {
                event.stopPropagation();
                setOpen(false);
              } else event.currentTarget.blur();
            }
          }}
        />
        <span className="query-count">{error === null ? count : ""}</span>
        <kbd aria-hidden="true">/</kbd>
      </div>
      {items.length > 0 && (
        <ul className="query-list" id={`${id}-list`} role="listbox" aria-label="What may come next">
          {items.map((item, index) => (
            <li
              key={`${item.kind}:${item.insert}`}
              id={`${id}-${index}`}
              role="option"
              aria-selected={index === active}
              // Before the input loses its focus, which would close the list.
              onPointerDown={(event) => {
                event.preventDefault();
                accept(index);
              }}
            >
              <code>{item.insert}</code>
              <span className="quiet">{item.help === "" ? item.kind : item.help}</span>
            </li>
          ))}
        </ul>
      )}
      {error !== null && items.length === 0 && (
        <div className="query-error" id={`${id}-error`} role="alert">
          {drawn !== "" && <pre aria-hidden="true">{drawn}</pre>}
          <p>{error.message}</p>
        </div>
      )}
    </div>
  );
}
