import { useState } from "react";
import { activeShortcuts, setSingleKeys, singleKeysOn } from "@/lib/keys";
import { Dialog } from "@/ui/Dialog";

const everywhere: readonly (readonly [string, string])[] = [
  ["⌘ K", "Search and commands"],
  ["?", "These shortcuts"],
  ["[", "Fold the sidebar"],
  ["N", "Submit"],
  ["G then H, A, L", "Go to home, active runs, leaderboards"],
  ["Esc", "Close the topmost thing"],
];

export function ShortcutHelp({ onClose }: { onClose: () => void }) {
  const [on, setOn] = useState(singleKeysOn);
  const here = activeShortcuts();
  return (
    <Dialog title="Shortcuts" onClose={onClose}>
      {here.length > 0 && (
        <KeyTable caption="This page" rows={here.map(({ key, does }) => [keyText(key), does] as const)} />
      )}
      <KeyTable caption="Everywhere" rows={everywhere} />
      <label className="check">
        <input
          type="checkbox"
          checked={on}
          onChange={(event) => {
            setSingleKeys(event.target.checked);
            setOn(event.target.checked);
          }}
        />
        Single letters act as shortcuts
      </label>
    </Dialog>
  );
}

function keyText(key: string): string {
  return key
    .replace("Mod+", "⌘ ")
    .replace("Shift+", "Shift ")
    .replace(/(^| )([a-z])$/, (_, space: string, letter: string) => space + letter.toUpperCase());
}

function KeyTable({ caption, rows }: { caption: string; rows: readonly (readonly [string, string])[] }) {
  return (
    <section>
      <h3>{caption}</h3>
      <table className="table">
        <tbody>
          {rows.map(([key, does]) => (
            <tr key={key}>
              <td>
                <kbd>{key}</kbd>
              </td>
              <td>{does}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
