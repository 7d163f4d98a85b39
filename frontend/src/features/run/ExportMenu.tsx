import { Icon } from "@/ui/Icon";
import { Menu } from "@/ui/Menu";

const FORMATS = [
  ["csv", "CSV"],
  ["jsonl", "JSON lines"],
  ["parquet", "Parquet"],
] as const;

/** Every point of a run as one file. */
export function ExportMenu({ run }: { run: string }) {
  return (
    <Menu
      label="Export points"
      align="right"
      button={
        <>
          <Icon name="download" size={14} /> Export
        </>
      }
    >
      {(close) => (
        <>
          <div className="menu-heading">All points: key, step, time, value</div>
          {FORMATS.map(([format, word]) => (
            <a
              key={format}
              className="menu-item"
              href={`/api/v1/runs/${run}/export?format=${format}`}
              download
              onClick={close}
            >
              {word}
            </a>
          ))}
        </>
      )}
    </Menu>
  );
}
