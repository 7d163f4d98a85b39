import { NavLink } from "react-router";
import type { Run } from "@/api/types";
import { Icon } from "@/ui/Icon";

/** On a phone: watch and stop, with targets of 44 px. */
export function PhoneBar({ base, run }: { base: string; run: Run }) {
  return (
    <nav className="phone-bar" aria-label="Run, short">
      <NavLink to={base} end>
        <Icon name="pulse" size={18} /> Charts
      </NavLink>
      <NavLink to={`${base}/logs`}>
        <Icon name="file" size={18} /> Logs
      </NavLink>
      <NavLink to={`${base}/config`}>
        <Icon name="columns" size={18} /> Config
      </NavLink>
      {run.can.includes("cancel") && (
        <button type="button" onClick={() => document.getElementById("stop-run")?.click()}>
          <Icon name="stop" size={18} /> Stop
        </button>
      )}
    </nav>
  );
}
