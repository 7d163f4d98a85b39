import { useQuery } from "@tanstack/react-query";
import { useEffect } from "react";
import { useLocation, useNavigate } from "react-router";
import { runQuery } from "@/api/runs";

/** The run in an address such as `/#/experiments/12/runs/r_ABC`, which MLflow's client prints when a run ends. */
export function runOfMlflowLink(hash: string): string | null {
  return /^#\/experiments\/\d+\/runs\/(r_[0-9A-Z]+)/.exec(hash)?.[1] ?? null;
}

/** Leads from such an address to the run's page. */
export function useMlflowLink(): void {
  const navigate = useNavigate();
  const run = runOfMlflowLink(useLocation().hash);
  const found = useQuery({ ...runQuery(run ?? ""), enabled: run !== null });
  useEffect(() => {
    if (run !== null && found.data !== undefined) {
      void navigate(`/o/${found.data.org}/runs/${run}`, { replace: true });
    }
  }, [run, found.data, navigate]);
}
