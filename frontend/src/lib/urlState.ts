import { useCallback } from "react";
import { useSearchParams } from "react-router";

/** View state lives in the URL: a link restores what you see. Changing a view does not grow the history. */
export function useUrlState(): {
  readonly get: (key: string) => string;
  readonly list: (key: string) => string[];
  readonly set: (changes: Readonly<Record<string, string | readonly string[] | null>>) => void;
} {
  const [params, setParams] = useSearchParams();
  const get = (key: string): string => params.get(key) ?? "";
  const list = (key: string): string[] =>
    get(key)
      .split(",")
      .filter((item) => item !== "");
  const set = useCallback(
    (changes: Readonly<Record<string, string | readonly string[] | null>>) => {
      setParams(
        (before) => {
          const after = new URLSearchParams(before);
          for (const [key, value] of Object.entries(changes)) {
            const text = value === null ? "" : typeof value === "string" ? value : value.join(",");
            if (text === "") after.delete(key);
            else after.set(key, text);
          }
          return after;
        },
        { replace: true, preventScrollReset: true },
      );
    },
    [setParams],
  );
  return { get, list, set };
}
