import type { ReactNode } from "react";
import type { RecipeMetric } from "@/api/types";
import { plural } from "@/lib/numbers";
import { runStates, stateWords } from "@/lib/runStates";
import type { useUrlState } from "@/lib/urlState";
import { Button } from "@/ui/Button";
import { Icon } from "@/ui/Icon";
import { Menu } from "@/ui/Menu";
import { ColumnsMenu } from "./ColumnsMenu";

/** The query box, and what is shown and how; every control edits the URL. */
export function RunsTools({
  url,
  choices,
  params,
  shown,
  query,
  fresh,
  onFresh,
}: {
  url: ReturnType<typeof useUrlState>;
  choices: readonly RecipeMetric[];
  /** Paths of the configuration. */
  params: readonly string[];
  /** The columns of the table. */
  shown: readonly string[];
  /** The query box. */
  query: ReactNode;
  fresh: number;
  onFresh: () => void;
}) {
  const states = url.list("state");
  const grouped = url.get("group") !== "none";
  const flip = (list: readonly string[], item: string): string[] =>
    list.includes(item) ? list.filter((one) => one !== item) : [...list, item];
  return (
    <div className="runs-tools">
      {query}
      <div className="runs-view">
        <span>Group by</span>
        {grouped ? (
          <span className="tag">
            everything but seed
            <button type="button" aria-label="Do not group" onClick={() => url.set({ group: "none" })}>
              <Icon name="close" size={11} />
            </button>
          </span>
        ) : (
          <button type="button" className="filter" onClick={() => url.set({ group: null })}>
            everything but seed
          </button>
        )}
        <span className="divider" />
        {states.map((state) => (
          <span className="tag" key={state}>
            {state.toLowerCase()}
            <button
              type="button"
              aria-label={`Remove the filter ${state.toLowerCase()}`}
              onClick={() => url.set({ state: flip(states, state) })}
            >
              <Icon name="close" size={11} />
            </button>
          </span>
        ))}
        <Menu
          label="Filter by state"
          className="button button-quiet button-small"
          button={
            <>
              <Icon name="filter" size={13} /> State
            </>
          }
        >
          {() =>
            runStates.map((state) => (
              <label key={state} className="menu-item">
                <input
                  type="checkbox"
                  checked={states.includes(state)}
                  onChange={() => url.set({ state: flip(states, state) })}
                />
                {stateWords[state]}
              </label>
            ))
          }
        </Menu>
        {grouped && <span className="tag">mean ± 95 % interval over finished seeds</span>}
        <span className="spacer" />
        {fresh > 0 && (
          <Button small onClick={onFresh}>
            {plural(fresh, "new run")}
          </Button>
        )}
        <ColumnsMenu
          choices={choices}
          params={params}
          shown={shown}
          onShown={(columns) => url.set({ cols: columns })}
        />
      </div>
    </div>
  );
}
