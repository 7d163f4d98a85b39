import {
  getCoreRowModel,
  useReactTable,
  type ColumnDef,
  type ColumnDefTemplate,
  type RowData,
} from "@tanstack/react-table";
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useRef, type ReactNode } from "react";
import { nextSort, runsIn, type Row } from "./rows";

declare module "@tanstack/react-table" {
  // eslint-disable-next-line @typescript-eslint/no-unused-vars -- the parameters belong to the interface that is extended
  interface ColumnMeta<TData extends RowData, TValue> {
    sort?: string;
    number?: boolean;
  }
}

const ROW_HEIGHT = 30;

/**
 * A column's part by a call. As a component it would be another one with every new list of columns, React would replace
 * what it drew, and a link that is replaced between press and release is never clicked.
 */
function drawn<Context extends object>(
  part: ColumnDefTemplate<Context> | undefined,
  context: Context,
): ReactNode {
  return typeof part === "function" ? (part(context) as ReactNode) : part;
}

/** A real table with virtualised rows: two empty rows stand for what is above and below. */
export function RunsTable({
  rows,
  columns,
  sort,
  onSort,
  selected,
  onSelect,
  onSelectAll,
  cursor,
  onCursor,
  dimmed,
  onEnd,
  label,
}: {
  rows: readonly Row[];
  columns: ColumnDef<Row>[];
  sort: string;
  onSort: (sort: string) => void;
  selected: ReadonlySet<string>;
  onSelect: (row: Row, range: boolean) => void;
  onSelectAll: (all: boolean) => void;
  cursor: number;
  onCursor: (index: number) => void;
  dimmed: boolean;
  /** Called when the last rows come into view; null when there is nothing more. */
  onEnd: (() => void) | null;
  label: string;
}) {
  const scroller = useRef<HTMLDivElement>(null);
  const table = useReactTable({
    data: rows as Row[],
    columns,
    getCoreRowModel: getCoreRowModel(),
    getRowId: (row) => row.id,
    columnResizeMode: "onChange",
    manualSorting: true,
  });
  const virtual = useVirtualizer({
    count: rows.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => ROW_HEIGHT,
    overscan: 12,
  });
  useEffect(() => {
    if (cursor >= 0) virtual.scrollToIndex(cursor);
  }, [cursor, virtual]);

  const model = table.getRowModel().rows;
  const items = virtual.getVirtualItems();
  const last = items.at(-1)?.index ?? 0;
  useEffect(() => {
    if (onEnd !== null && last >= rows.length - 1) onEnd();
  }, [onEnd, last, rows.length]);
  const above = items[0]?.start ?? 0;
  const below = virtual.getTotalSize() - (items.at(-1)?.end ?? 0);
  const chosen = (row: Row): boolean | "some" => {
    const runs = runsIn(row);
    const n = runs.filter((run) => selected.has(run.id)).length;
    return n === 0 ? false : n === runs.length ? true : "some";
  };

  const marks = rows.map(chosen);
  const all = marks.every((mark) => mark === true)
    ? true
    : marks.some((mark) => mark !== false)
      ? "some"
      : false;

  return (
    <div className={dimmed ? "runs-scroll dimmed" : "runs-scroll"} ref={scroller}>
      <table
        className="runs-table"
        aria-label={label}
        aria-rowcount={rows.length + 1}
        style={{ minWidth: table.getTotalSize() + 36 }}
      >
        <colgroup>
          <col style={{ width: 36 }} />
          {table.getAllLeafColumns().map((column) => (
            <col key={column.id} style={{ width: column.getSize() }} />
          ))}
        </colgroup>
        <thead>
          {table.getHeaderGroups().map((group) => (
            <tr key={group.id} aria-rowindex={1}>
              <th scope="col" className="pick">
                <input
                  type="checkbox"
                  aria-label="Select all rows that are loaded"
                  checked={all === true}
                  ref={(box) => {
                    if (box !== null) box.indeterminate = all === "some";
                  }}
                  onChange={() => onSelectAll(all !== true)}
                />
              </th>
              {group.headers.map((header) => {
                const { sort: by, number } = header.column.columnDef.meta ?? {};
                const text = drawn(header.column.columnDef.header, header.getContext());
                const state =
                  by === undefined
                    ? undefined
                    : sort === by
                      ? "ascending"
                      : sort === `-${by}`
                        ? "descending"
                        : "none";
                return (
                  <th
                    key={header.id}
                    scope="col"
                    aria-sort={state}
                    className={[number === true ? "number" : "", header.id === "name" ? "pinned" : ""].join(
                      " ",
                    )}
                  >
                    {by === undefined ? (
                      text
                    ) : (
                      <button type="button" onClick={() => onSort(nextSort(sort, by))}>
                        {text}
                        {state === "ascending" ? " ▴" : state === "descending" ? " ▾" : ""}
                      </button>
                    )}
                    <span
                      className="resizer"
                      aria-hidden="true"
                      onPointerDown={header.getResizeHandler()}
                      onTouchStart={header.getResizeHandler()}
                      onDoubleClick={() => header.column.resetSize()}
                    />
                  </th>
                );
              })}
            </tr>
          ))}
        </thead>
        <tbody>
          {above > 0 && <tr aria-hidden="true" style={{ height: above }} />}
          {items.map((item) => {
            const row = model[item.index];
            if (row === undefined) return null;
            const picked = chosen(row.original);
            const name = row.original.kind === "run" ? row.original.run.name : row.original.group.label;
            return (
              <tr
                key={row.id}
                aria-rowindex={item.index + 2}
                aria-selected={picked === true}
                className={[
                  row.original.kind === "group" ? "group-row" : "",
                  picked === true ? "selected" : "",
                  item.index === cursor ? "cursor" : "",
                ].join(" ")}
                onPointerDown={() => onCursor(item.index)}
              >
                <td className="pick">
                  <input
                    type="checkbox"
                    aria-label={`Select ${name}`}
                    checked={picked === true}
                    ref={(box) => {
                      if (box !== null) box.indeterminate = picked === "some";
                    }}
                    onChange={() => undefined}
                    onClick={(event) => onSelect(row.original, event.shiftKey)}
                  />
                </td>
                {row.getVisibleCells().map((cell) => (
                  <td
                    key={cell.id}
                    className={[
                      cell.column.columnDef.meta?.number === true ? "number" : "",
                      cell.column.id === "name" ? "pinned" : "",
                    ].join(" ")}
                  >
                    {drawn(cell.column.columnDef.cell, cell.getContext())}
                  </td>
                ))}
              </tr>
            );
          })}
          {below > 0 && <tr aria-hidden="true" style={{ height: below }} />}
        </tbody>
      </table>
    </div>
  );
}
