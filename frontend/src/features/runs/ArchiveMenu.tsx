import { useQueryClient } from "@tanstack/react-query";
import { useRef, useState } from "react";
import { Link } from "react-router";
import { archiveUrl, importArchive } from "@/api/archives";
import { formatInteger, plural } from "@/lib/numbers";
import { Icon } from "@/ui/Icon";
import { Menu } from "@/ui/Menu";
import { say, sayError } from "@/ui/toasts";

/** A project leaves as one archive; an archive's studies and runs come in beside those that are here. */
export function ArchiveMenu({ org, project }: { org: string; project: string }) {
  const client = useQueryClient();
  const picker = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const take = (file: File): void => {
    setBusy(true);
    importArchive(org, project, file)
      .then((got) => {
        const studies = Object.keys(got.studies).length;
        const came = [plural(Object.keys(got.runs).length, "run")];
        if (studies > 0) came.push(plural(studies, "study", "studies"));
        came.push(`${formatInteger(got.points)} points`, plural(got.artifacts, "file"));
        say(`Imported ${came.join(", ")}.`);
        for (const key of ["runs", "projects", "studies"])
          void client.invalidateQueries({ queryKey: [key, org] });
      })
      .catch(sayError)
      .finally(() => setBusy(false));
  };
  return (
    <>
      <Menu
        label="Archive of the project"
        align="right"
        button={
          <>
            <Icon name="folder" size={14} /> {busy ? "Importing" : "Archive"}
          </>
        }
      >
        {(close) => (
          <>
            <a className="menu-item" href={archiveUrl(org, project)} download onClick={close}>
              Export this project
            </a>
            <button
              type="button"
              className="menu-item"
              disabled={busy}
              onClick={() => {
                close();
                picker.current?.click();
              }}
            >
              Import an archive
            </button>
            <Link className="menu-item" to={`/o/${org}/p/${project}/import`} onClick={close}>
              Import runs of other trackers
            </Link>
          </>
        )}
      </Menu>
      <input
        ref={picker}
        type="file"
        accept=".zip,application/zip"
        aria-label="Archive to import"
        hidden
        onChange={(event) => {
          const file = event.target.files?.[0];
          // The same file can be chosen again after an error.
          event.target.value = "";
          if (file !== undefined) take(file);
        }}
      />
    </>
  );
}
