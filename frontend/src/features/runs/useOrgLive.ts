import { useQueryClient } from "@tanstack/react-query";
import { useEffect } from "react";
import { applyRunChange } from "@/api/runs";
import { live } from "@/lib/live";

/** Keeps every cached run of an organisation fresh; lists that miss a run are asked for again. */
export function useOrgLive(org: string): void {
  const client = useQueryClient();
  useEffect(() => {
    if (org === "") return;
    let timer: number | null = null;
    const stop = live.watch({ topic: "org", org }, (message) => {
      if ("id" in message) applyRunChange(client, message);
      timer ??= window.setTimeout(() => {
        timer = null;
        void client.invalidateQueries({ queryKey: ["runs", org], refetchType: "active" });
      }, 2_000);
    });
    return () => {
      stop();
      if (timer !== null) window.clearTimeout(timer);
    };
  }, [client, org]);
}
