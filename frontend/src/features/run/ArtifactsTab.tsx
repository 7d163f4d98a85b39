import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { artifactUrl } from "@/api/artifacts";
import { runArtifactsQuery } from "@/api/runs";
import type { Artifact, Run } from "@/api/types";
import { formatBytes } from "@/lib/numbers";
import { isActive } from "@/lib/runStates";
import { formatTime } from "@/lib/times";
import { Button } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { Icon } from "@/ui/Icon";
import { ArtifactPreview } from "./ArtifactPreview";
import { UploadFiles } from "./UploadFiles";

export function ArtifactsTab({ run }: { run: Run }) {
  const artifacts = useQuery({
    ...runArtifactsQuery(run.id),
    refetchInterval: isActive(run.state) ? 10_000 : false,
  });
  const [shown, show] = useState<Artifact | null>(null);
  const upload = run.external && run.can.includes("edit") ? <UploadFiles run={run} /> : undefined;
  if (artifacts.isPending) return <Skeleton />;
  if (artifacts.isError) return <ErrorNote error={artifacts.error} retry={() => void artifacts.refetch()} />;
  const { items } = artifacts.data;
  if (items.length === 0) {
    return (
      <EmptyState action={upload}>
        No artifacts.{" "}
        {isActive(run.state) ? "They appear here as the run saves them." : "This run saved none."}
      </EmptyState>
    );
  }
  return (
    <>
      {upload}
      <div className="card table-scroll">
        <table className="table" aria-label="Artifacts">
          <thead>
            <tr>
              <th scope="col">Path</th>
              <th scope="col" className="number">
                Size
              </th>
              <th scope="col">Type</th>
              <th scope="col">sha256</th>
              <th scope="col">Attempt</th>
              <th scope="col">Saved</th>
              <th scope="col">
                <span className="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {items.map((artifact) => (
              <tr key={`${artifact.path}:${artifact.epoch}`}>
                <td className="mono">{artifact.path}</td>
                <td className="number">{formatBytes(artifact.size_bytes)}</td>
                <td className="second">{artifact.media_type}</td>
                <td className="mono quiet" title={artifact.sha256}>
                  {artifact.sha256.slice(0, 8)}
                </td>
                <td className="second">{artifact.epoch}</td>
                <td className="second" title={artifact.created_at}>
                  {formatTime(artifact.created_at)}
                </td>
                <td>
                  <span className="row">
                    <a className="button button-small" href={artifactUrl(run.id, artifact.path)} download>
                      <Icon name="download" size={14} /> Download
                    </a>
                    <Button small onClick={() => show(artifact)} aria-pressed={shown?.path === artifact.path}>
                      Preview
                    </Button>
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown !== null && <ArtifactPreview run={run.id} artifact={shown} onClose={() => show(null)} />}
    </>
  );
}
