import { useQuery } from "@tanstack/react-query";
import { useDeferredValue, useState } from "react";
import { useNavigate } from "react-router";
import { projectsQuery } from "@/api/orgs";
import { recipesQuery } from "@/api/recipes";
import { orgRunsQuery } from "@/api/runs";
import type { OrgOfMe } from "@/api/types";
import { toggleSidebar } from "@/lib/sidebar";
import { chooseTheme, themeNow } from "@/tokens/theme";
import { Dialog } from "@/ui/Dialog";
import { StateGlyph } from "@/ui/StateChip";

interface Entry {
  readonly id: string;
  readonly text: string;
  readonly detail: string;
  readonly act: () => void;
  readonly glyph?: React.ReactNode;
}

/** Pages, recipes, runs by id or name, and actions. */
export function Palette({ org, onClose }: { org: OrgOfMe | undefined; onClose: () => void }) {
  const navigate = useNavigate();
  const [text, setText] = useState("");
  const [chosen, choose] = useState(0);
  const q = useDeferredValue(text.trim());
  const slug = org?.slug ?? "";
  const projects = useQuery({ ...projectsQuery(slug), enabled: slug !== "" });
  const recipes = useQuery(recipesQuery);
  const runs = useQuery({ ...orgRunsQuery(slug, { q, limit: 8 }), enabled: slug !== "" && q.length > 1 });

  const go = (to: string) => (): void => {
    onClose();
    void navigate(to);
  };
  const closing = (act: () => void) => (): void => {
    onClose();
    act();
  };
  const base = `/o/${slug}`;
  const pages: Entry[] = [
    ["Home", "/"],
    ["Submit", `${base}/submit`],
    ["Active runs", `${base}/active`],
    ["Projects", `${base}/projects`],
    ["Leaderboards", "/leaderboards"],
    ["Quota and usage", `${base}/usage`],
    ["Members", `${base}/members`],
    ["Tokens", `${base}/tokens`],
    ["Nodes", `${base}/nodes`],
    ["Alerts", `${base}/alerts`],
    ["Storage and trash", `${base}/storage`],
  ].map(([name = "", to = "/"]) => ({ id: to, text: name, detail: "page", act: go(to) }));
  const places: Entry[] = (projects.data?.items ?? []).map((project) => ({
    id: `p:${project.slug}`,
    text: project.name === "" ? project.slug : project.name,
    detail: "project",
    act: go(`${base}/p/${project.slug}/runs`),
  }));
  const launches: Entry[] = (recipes.data?.items ?? []).map((recipe) => ({
    id: `r:${recipe.name}`,
    text: `Submit ${recipe.title}`,
    detail: recipe.name,
    act: go(`${base}/submit/${recipe.name}`),
  }));
  const actions: Entry[] = [
    {
      id: "sidebar",
      text: "Fold or unfold the sidebar",
      detail: "action",
      act: closing(() => toggleSidebar()),
    },
    {
      id: "theme",
      text: "Switch between light and dark",
      detail: "action",
      act: closing(() => chooseTheme(themeNow() === "dark" ? "light" : "dark")),
    },
  ];
  const words = q.toLowerCase().split(/\s+/);
  const fits = (entry: Entry): boolean =>
    words.every((word) => `${entry.text} ${entry.detail}`.toLowerCase().includes(word));
  const found: Entry[] = [
    ...(q.length > 1 ? (runs.data?.items ?? []) : []).map((run) => ({
      id: run.id,
      text: run.name,
      detail: run.id,
      act: go(`${base}/runs/${run.id}`),
      glyph: <StateGlyph state={run.state} />,
    })),
    ...[...pages, ...places, ...launches, ...actions].filter(fits),
  ].slice(0, 14);
  const at = Math.min(chosen, found.length - 1);

  return (
    <Dialog title="Search or jump" onClose={onClose} wide>
      <input
        className="input"
        autoFocus
        role="combobox"
        aria-expanded="true"
        aria-controls="palette-list"
        aria-activedescendant={`palette-${at}`}
        aria-label="Search pages, projects, recipes and runs"
        placeholder="A page, a project, a recipe, a run by name or id"
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          choose(0);
        }}
        onKeyDown={(event) => {
          const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
          if (by !== undefined) {
            event.preventDefault();
            choose((at + by + found.length) % Math.max(1, found.length));
          } else if (event.key === "Enter") {
            event.preventDefault();
            found[at]?.act();
          }
        }}
      />
      <ul id="palette-list" role="listbox" aria-label="Results">
        {found.map((entry, index) => (
          <li
            key={entry.id}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === at}
            aria-current={index === at}
            className="menu-item"
            onPointerMove={() => choose(index)}
            onClick={entry.act}
          >
            {entry.glyph}
            {entry.text}
            <span className="spacer" />
            <span className="quiet mono">{entry.detail}</span>
          </li>
        ))}
        {found.length === 0 && <li className="quiet">Nothing found for “{q}”.</li>}
      </ul>
    </Dialog>
  );
}
