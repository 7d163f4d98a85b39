import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { artifactText } from "@/api/http";
import { artifactUrl, runArtifactsQuery } from "@/api/runs";
import type { Artifact, Run } from "@/api/types";
import { formatBytes } from "@/lib/numbers";
import { isActive } from "@/lib/runStates";
import { formatTime } from "@/lib/times";
import { Button } from "@/ui/Button";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { Icon } from "@/ui/Icon";

const MOST_TEXT = 256_000;
const IMAGES = new Set(["image/png", "image/jpeg", "image/gif", "image/webp"]);

/** Only plain text and raster images are shown; SVG and HTML could carry scripts and are only downloaded. */
function previewOf(artifact: Artifact): "text" | "image" | null {
  const type = artifact.media_type.split(";")[0] ?? "";
  if (IMAGES.has(type) && artifact.size_bytes < 20_000_000) return "image";
  const textual =
    type === "application/json" ||
    type === "text/plain" ||
    type === "text/csv" ||
    type === "text/markdown" ||
    type === "application/x-ndjson" ||
    type === "application/yaml";
  return textual && artifact.size_bytes <= MOST_TEXT ? "text" : null;
}

export function ArtifactsTab({ run }: { run: Run }) {
  const artifacts = useQuery({
    ...runArtifactsQuery(run.id),
    refetchInterval: isActive(run.state) ? 10_000 : false,
  });
  const [shown, show] = useState<Artifact | null>(null);
  if (artifacts.isPending) return <Skeleton />;
  if (artifacts.isError) return <ErrorNote error={artifacts.error} retry={() => void artifacts.refetch()} />;
  const { items } = artifacts.data;
  if (items.length === 0) {
    return (
      <EmptyState>
        No artifacts.{" "}
        {isActive(run.state) ? "They appear here as the run saves them." : "This run saved none."}
      </EmptyState>
    );
  }
  return (
    <>
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
              <th scope="col">Attempt epoch</th>
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
                    {previewOf(artifact) !== null && (
                      <Button
                        small
                        onClick={() => show(artifact)}
                        aria-pressed={shown?.path === artifact.path}
                      >
                        Preview
                      </Button>
                    )}
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {shown !== null && <Preview run={run} artifact={shown} onClose={() => show(null)} />}
    </>
  );
}

function Preview({ run, artifact, onClose }: { run: Run; artifact: Artifact; onClose: () => void }) {
  const kind = previewOf(artifact);
  const url = artifactUrl(run.id, artifact.path);
  const text = useQuery({
    queryKey: ["artifact", run.id, artifact.path, artifact.sha256],
    queryFn: () => artifactText(url),
    enabled: kind === "text",
    staleTime: Infinity,
  });
  return (
    <section className="card preview" aria-label={`Preview of ${artifact.path}`}>
      <header className="card-head">
        <h3>{artifact.path}</h3>
        <span className="spacer" />
        <Button look="quiet" small icon="close" aria-label="Close the preview" onClick={onClose} />
      </header>
      {kind === "image" && <img src={url} alt={artifact.path} />}
      {kind === "text" && text.isPending && <Skeleton />}
      {text.isError && <ErrorNote error={text.error} />}
      {text.data !== undefined && <pre tabIndex={0}>{text.data}</pre>}
    </section>
  );
}
