import { useQuery } from "@tanstack/react-query";
import { artifactPreviewQuery, artifactUrl, type ArtifactLook } from "@/api/artifacts";
import type { Artifact } from "@/api/types";
import { formatBytes, formatInteger, plural } from "@/lib/numbers";
import { formatDuration } from "@/lib/times";
import { Button } from "@/ui/Button";
import { ErrorNote, Skeleton } from "@/ui/Notes";

/** A first look into a file: an image, a sound, the head of a text, the first rows of a table. The server decides which. */
export function ArtifactPreview({
  run,
  artifact,
  onClose,
}: {
  run: string;
  artifact: Artifact;
  onClose: () => void;
}) {
  const look = useQuery(artifactPreviewQuery(run, artifact.path, artifact.sha256));
  return (
    <section className="card preview" aria-label={`Preview of ${artifact.path}`}>
      <header className="card-head">
        <h3>{artifact.path}</h3>
        {look.data !== undefined && <span className="quiet">{describe(look.data)}</span>}
        <span className="spacer" />
        <Button look="quiet" small icon="close" aria-label="Close the preview" onClick={onClose} />
      </header>
      {look.isPending && <Skeleton />}
      {look.isError && <ErrorNote error={look.error} retry={() => void look.refetch()} />}
      {look.data !== undefined && <Content run={run} look={look.data} />}
    </section>
  );
}

export function describe(look: ArtifactLook): string {
  switch (look.kind) {
    case "image":
      return `${look.width ?? "?"} × ${look.height ?? "?"} pixels, ${formatBytes(look.size_bytes)}`;
    case "audio": {
      const parts = [
        typeof look.seconds !== "number" ? formatBytes(look.size_bytes) : formatDuration(look.seconds),
      ];
      if (typeof look.sample_rate === "number") parts.push(`${formatInteger(look.sample_rate)} Hz`);
      if (typeof look.channels === "number") parts.push(plural(look.channels, "channel"));
      return parts.join(", ");
    }
    case "table": {
      const rows = look.rows?.length ?? 0;
      const total = look.rows_total ?? null;
      if (look.truncated !== true) return plural(rows, "row");
      return total === null ? `the first ${plural(rows, "row")}` : `${rows} of ${plural(total, "row")}`;
    }
    case "text":
      return look.truncated === true ? `the beginning of ${formatBytes(look.size_bytes)}` : "";
    case "none":
      return "";
  }
}

function Content({ run, look }: { run: string; look: ArtifactLook }) {
  const url = artifactUrl(run, look.path);
  switch (look.kind) {
    case "image":
      return <img src={url} alt={look.path} />;
    case "audio":
      return <audio controls preload="metadata" src={url} aria-label={look.path} />;
    case "table":
      return <Table columns={look.columns ?? []} rows={look.rows ?? []} />;
    case "text":
      return <pre tabIndex={0}>{look.text}</pre>;
    case "none":
      return (
        <p className="preview-none second">
          {look.reason === undefined || look.reason === "" ? "There is nothing to show." : look.reason}
        </p>
      );
  }
}

function Table({ columns, rows }: { columns: readonly string[]; rows: readonly (readonly unknown[])[] }) {
  return (
    <div className="preview-table table-scroll" tabIndex={0}>
      <table className="table">
        <thead>
          <tr>
            {columns.map((name, place) => (
              <th
                scope="col"
                key={place}
                className={typeof rows[0]?.[place] === "number" ? "number" : undefined}
              >
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row, number) => (
            <tr key={number}>
              {columns.map((_, place) => {
                const cell = row[place];
                return (
                  <td key={place} className={typeof cell === "number" ? "number" : "mono"}>
                    {cellText(cell)}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function cellText(cell: unknown): string {
  if (cell === null || cell === undefined || cell === "") return "–";
  return typeof cell === "string" ? cell : JSON.stringify(cell);
}
