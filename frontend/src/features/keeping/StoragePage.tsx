import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useParams } from "react-router";
import {
  purgeItem,
  restoreItem,
  storageQuery,
  trashQuery,
  type Storage,
  type TrashItem,
} from "@/api/keeping";
import { formatBytes, formatInteger, plural } from "@/lib/numbers";
import { formatDay, formatTime } from "@/lib/times";
import { Button } from "@/ui/Button";
import { Dialog } from "@/ui/Dialog";
import { EmptyState, ErrorNote, Skeleton } from "@/ui/Notes";
import { PageFrame } from "@/ui/PageFrame";
import { Progress } from "@/ui/Progress";
import { Figure } from "@/ui/Quantity";
import { say, sayError } from "@/ui/toasts";
import { PolicyForm } from "./PolicyForm";
import "@/features/org/org.css";
import "./keeping.css";

export function StoragePage() {
  const { org = "" } = useParams();
  const storage = useQuery(storageQuery(org));
  return (
    <PageFrame title="Storage and trash">
      <div className="page-body">
        {storage.isPending && <Skeleton />}
        {storage.isError && <ErrorNote error={storage.error} retry={() => void storage.refetch()} />}
        {storage.isSuccess && (
          <>
            <Used storage={storage.data} />
            <h2>What is kept</h2>
            <PolicyForm key={JSON.stringify(storage.data.policy)} org={org} policy={storage.data.policy} />
            <h2>Trash</h2>
            <p className="second">
              What is thrown away stays here for {plural(storage.data.trash_days, "day")} and is then gone for
              good, with its points, logs and files.
            </p>
            <Trash org={org} />
          </>
        )}
      </div>
    </PageFrame>
  );
}

function Used({ storage }: { storage: Storage }) {
  const share = storage.artifact_bytes / Math.max(1, storage.artifact_limit_bytes);
  const limit = formatBytes(storage.artifact_limit_bytes);
  return (
    <section className="card storage-used" aria-label="Storage in use">
      <div className="figures">
        <Figure label="Files" value={formatBytes(storage.artifact_bytes)} detail={`of ${limit}`} />
        <Figure label="Points" value={formatBytes(storage.metric_bytes)} />
        <Figure label="Logs" value={formatBytes(storage.log_bytes)} />
        <Figure
          label="In the trash"
          value={formatBytes(storage.trash_bytes)}
          detail={plural(storage.trash_items, "thing")}
        />
      </div>
      <Progress share={Math.min(1, share)} label={`Files, of ${limit}`} wide />
    </section>
  );
}

function Trash({ org }: { org: string }) {
  const client = useQueryClient();
  const trash = useQuery(trashQuery(org));
  const [purging, askFor] = useState<TrashItem | null>(null);
  const refresh = (): void => {
    for (const key of ["trash", "storage", "projects"])
      void client.invalidateQueries({ queryKey: [key, org] });
    void client.invalidateQueries({ queryKey: ["runs"] });
  };
  if (trash.isPending) return <Skeleton />;
  if (trash.isError) return <ErrorNote error={trash.error} retry={() => void trash.refetch()} />;
  if (trash.data.items.length === 0) return <EmptyState>The trash is empty.</EmptyState>;
  return (
    <>
      <div className="card table-scroll">
        <table className="table" aria-label="Trash">
          <thead>
            <tr>
              <th scope="col">What</th>
              <th scope="col">Project</th>
              <th scope="col" className="number">
                Runs
              </th>
              <th scope="col" className="number">
                Frees
              </th>
              <th scope="col">Thrown away</th>
              <th scope="col">Gone after</th>
              <th scope="col">
                <span className="visually-hidden">Actions</span>
              </th>
            </tr>
          </thead>
          <tbody>
            {trash.data.items.map((item) => (
              <tr key={item.id}>
                <td>
                  <b>{item.name === "" ? item.id : item.name}</b> <span className="quiet">{item.kind}</span>
                </td>
                <td className="second">{item.project}</td>
                <td className="number">{formatInteger(item.runs)}</td>
                <td className="number">{formatBytes(item.bytes)}</td>
                <td className="second">
                  {formatTime(item.trashed_at)} by {item.trashed_by}
                </td>
                <td className="second">{formatDay(item.purge_at)}</td>
                <td>
                  <span className="row">
                    <Button
                      small
                      icon="retry"
                      onClick={() => {
                        restoreItem(item.id)
                          .then(() => say(`${item.name} is back in ${item.project}.`))
                          .catch(sayError)
                          .finally(refresh);
                      }}
                    >
                      Restore
                    </Button>
                    <Button small look="quiet" onClick={() => askFor(item)}>
                      Delete now
                    </Button>
                  </span>
                </td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      {purging !== null && (
        <Dialog
          title={`Delete ${purging.name} for good?`}
          onClose={() => askFor(null)}
          actions={
            <>
              <Button onClick={() => askFor(null)}>Keep it in the trash</Button>
              <Button
                look="danger"
                onClick={() => {
                  askFor(null);
                  purgeItem(purging.id)
                    .then((bytes) => say(`Deleted. ${formatBytes(bytes)} came free.`))
                    .catch(sayError)
                    .finally(refresh);
                }}
              >
                Delete for good
              </Button>
            </>
          }
        >
          <p>
            {plural(purging.runs, "run")} with points, logs and files, {formatBytes(purging.bytes)}. Nobody
            can bring it back. Files that other runs share stay.
          </p>
        </Dialog>
      )}
    </>
  );
}
