import { useState } from "react";
import type { RecipeMetric } from "@/api/types";
import { plural } from "@/lib/numbers";
import { Icon } from "@/ui/Icon";
import { Menu } from "@/ui/Menu";
import { PARAM } from "./choices";

const MOST = 60;

/** Which metrics and which values of the configuration have columns; those that are shown come first. */
export function ColumnsMenu({
  choices,
  params,
  shown,
  onShown,
}: {
  choices: readonly RecipeMetric[];
  params: readonly string[];
  shown: readonly string[];
  onShown: (columns: readonly string[]) => void;
}) {
  const [words, setWords] = useState("");
  const has = (name: string): boolean => name.toLowerCase().includes(words.trim().toLowerCase());
  const flip = (column: string): void =>
    onShown(shown.includes(column) ? shown.filter((one) => one !== column) : [...shown, column]);
  const metrics = [
    ...shown
      .filter((key) => !key.startsWith(PARAM) && !choices.some((metric) => metric.key === key))
      .map((key) => ({ key, unit: "", help: "" })),
    ...choices,
  ].filter((metric) => has(metric.key));
  const paths = params.map((path) => PARAM + path).filter(has);
  const row = (column: string, text: string, unit: string, help: string) => (
    <label key={column} className="menu-item" title={help === "" ? column : help}>
      <input type="checkbox" checked={shown.includes(column)} onChange={() => flip(column)} />
      <span className="column-name">{text}</span>
      <span className="spacer" />
      <span className="quiet">{unit}</span>
    </label>
  );
  return (
    <Menu
      label="Choose columns"
      align="right"
      className="button button-quiet button-small"
      button={
        <>
          <Icon name="columns" size={13} /> {plural(shown.length, "column")}
        </>
      }
    >
      {() => (
        <div className="columns-menu">
          <input
            className="input"
            type="search"
            placeholder="Find a metric or a setting"
            aria-label="Find a metric or a setting"
            value={words}
            onChange={(event) => setWords(event.target.value)}
          />
          <div className="menu-heading">Metrics, last value</div>
          {metrics.slice(0, MOST).map((metric) => row(metric.key, metric.key, metric.unit, metric.help))}
          {metrics.length > MOST && (
            <p className="menu-heading">{metrics.length - MOST} more: type to find them</p>
          )}
          {paths.length > 0 && <div className="menu-heading">Configuration, where runs differ</div>}
          {paths.slice(0, MOST).map((path) => row(path, path.slice(PARAM.length), "", ""))}
          {metrics.length + paths.length === 0 && (
            <p className="menu-heading">Nothing has “{words}” in its name.</p>
          )}
        </div>
      )}
    </Menu>
  );
}
