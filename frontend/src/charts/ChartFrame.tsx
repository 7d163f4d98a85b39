import { useEffect, useMemo, useRef, useState, useSyncExternalStore } from "react";
import { formatBytes, formatFixed, formatInteger, formatValue } from "@/lib/numbers";
import type uPlot from "uplot";
import { readToken } from "@/tokens/series";
import { Icon } from "@/ui/Icon";
import { Menu } from "@/ui/Menu";
import "./charts.css";
import { downloadPng, downloadText } from "./downloads";
import { svgOf, type SvgView } from "./svg";
import { LineEnds } from "./LineEnds";
import { Plot, plotIn, readingAt, type Reading } from "./Plot";
import type { Range } from "./plotOptions";
import { withoutLines, type Scene, type Scenes, type XKind } from "./scene";
import { csvOf, formatX, rowsOf, sentenceOf } from "./sentences";

export interface ChartFrameProps {
  readonly name: string;
  readonly unit: string;
  readonly better?: "min" | "max" | null;
  readonly source: Scenes;
  readonly kind: XKind;
  /** What the x axis shows where it is neither steps nor time. */
  readonly xName?: string;
  readonly height?: number;
  readonly syncKey: string;
  readonly zoom: Range | null;
  readonly onZoom: (range: Range | null) => void;
  readonly yLog: boolean;
  readonly onYLog: (log: boolean) => void;
  readonly fromZero?: boolean;
  /** Whether spikes may leave the y range. */
  readonly robust?: boolean;
  readonly pin?: number | null;
  readonly onPin?: (x: number | null) => void;
  /** Written into exports: what the lines are, when they are not the raw values. */
  readonly smoothing?: string;
  readonly lineEnds?: boolean;
}

/** Title, unit and reading above; menu on hover or focus; a sentence and a table for whoever cannot see the canvas. */
export function ChartFrame(props: ChartFrameProps) {
  const { name, unit, better, source: whole, kind, height = 190, yLog, onYLog, pin = null } = props;
  const root = useRef<HTMLElement>(null);
  const reading = useRef<HTMLSpanElement>(null);
  const [table, showTable] = useState(false);
  const many = props.lineEnds === true;
  const [under, setUnder] = useState<Reading | null>(null);
  const [hidden, setHidden] = useState<ReadonlySet<string>>(new Set());
  const [focused, setFocused] = useState<string | null>(null);
  const source = useMemo(() => withoutLines(whole, hidden), [whole, hidden]);

  const showReading = (found: Reading | null): void => {
    if (many) {
      setUnder(found);
      return;
    }
    const kept = found ?? (pin === null ? null : readingAt(source.get(), pin));
    if (reading.current !== null) reading.current.textContent = readingText(kept, source.get(), unit);
  };
  const atCursor = under ?? (pin === null || !many ? null : readingAt(source.get(), pin));
  useEffect(() => {
    if (many) return;
    const show = (): void => {
      const node = reading.current;
      if (node !== null && node.closest(".chart:hover") === null)
        node.textContent = readingText(
          pin === null ? null : readingAt(source.get(), pin),
          source.get(),
          unit,
        );
    };
    show();
    return source.subscribe(show);
  }, [source, many, unit, pin]);

  return (
    <section className="card chart" ref={root} aria-label={name}>
      <header className="chart-head">
        <h3 title={name}>{name}</h3>
        <span className="chart-unit">
          {yLog ? `${unit} log scale`.trim() : unit}
          {better !== null && better !== undefined && <Better goal={better} />}
        </span>
        <span className="spacer" />
        <span className="chart-reading" ref={reading} />
        <Menu label={`Options of ${name}`} button={<Icon name="menu" />} align="right" className="chart-menu">
          {(close) => (
            <>
              <MenuChoice
                text={yLog ? "Linear y axis" : "Log y axis"}
                onPick={() => onYLog(!yLog)}
                close={close}
              />
              <MenuChoice
                text={table ? "Show as chart" : "Show as table"}
                onPick={() => showTable(!table)}
                close={close}
              />
              <MenuChoice
                text="Export CSV, raw values"
                onPick={() => downloadText(`${name}.csv`, "text/csv", csvOf(source.get(), kind))}
                close={close}
              />
              <MenuChoice
                text="Export SVG"
                onPick={() => {
                  const u = plotIn(root.current);
                  if (u === null) return;
                  const caption = [name, unit, props.smoothing].filter(Boolean).join("  ");
                  downloadText(
                    `${name}.svg`,
                    "image/svg+xml",
                    svgOf(source.get(), viewOf(u, kind, yLog, caption)),
                  );
                }}
                close={close}
              />
              <MenuChoice
                text="Export PNG"
                onPick={() =>
                  downloadPng(root.current, name, [name, unit, props.smoothing].filter(Boolean).join("  "))
                }
                close={close}
              />
            </>
          )}
        </Menu>
      </header>
      {table ? (
        <SceneTable source={source} name={name} kind={kind} />
      ) : (
        <div className={many ? "chart-body chart-body-ends" : "chart-body"}>
          <Plot
            source={source}
            name={name}
            height={height}
            kind={kind}
            yLog={yLog}
            fromZero={props.fromZero ?? false}
            robust={props.robust ?? false}
            pin={pin}
            {...(props.onPin === undefined ? {} : { onPin: props.onPin })}
            focused={focused}
            syncKey={props.syncKey}
            zoom={props.zoom}
            onZoom={props.onZoom}
            onReading={showReading}
          />
          {many && (
            <LineEnds
              source={whole}
              height={height}
              reading={atCursor === null ? null : named(atCursor, source.get(), under === null)}
              kind={kind}
              hidden={hidden}
              onHidden={setHidden}
              onFocus={setFocused}
            />
          )}
        </div>
      )}
      {props.xName !== undefined && props.xName !== "" && <p className="chart-x">{props.xName}</p>}
      <Sentence source={source} name={name} kind={kind} />
    </section>
  );
}

function named(reading: Reading, scene: Scene, pinned: boolean) {
  const of = new Map(scene.lines.map((line, at) => [line.label, reading.values[at] ?? null]));
  return { x: reading.x, of, pinned };
}

function viewOf(u: uPlot, kind: XKind, log: boolean, caption: string): SvgView {
  const { x, y } = u.scales;
  return {
    width: u.width,
    height: u.height,
    x: [x?.min ?? 0, x?.max ?? 1],
    y: [y?.min ?? 0, y?.max ?? 1],
    kind,
    log,
    caption,
    color: readToken,
  };
}

export function Better({ goal }: { goal: "min" | "max" }) {
  const text = goal === "min" ? "lower is better" : "higher is better";
  return (
    <span title={text} aria-label={text}>
      {" "}
      {goal === "min" ? "↓" : "↑"}
    </span>
  );
}

function MenuChoice({ text, onPick, close }: { text: string; onPick: () => void; close: () => void }) {
  return (
    <button
      type="button"
      className="menu-item"
      onClick={() => {
        close();
        onPick();
      }}
    >
      {text}
    </button>
  );
}

function readingText(reading: Reading | null, scene: Scene, unit: string): string {
  const line = scene.lines[0];
  // Of several lines none is the one to read; their legend tells all.
  if (line === undefined || scene.lines.length > 1) return "";
  const value = reading?.values[0] ?? lastFinite(line.y);
  if (value === null) return "–";
  return unit === "bytes" ? formatBytes(value) : formatValue(value);
}

export function lastFinite(values: ArrayLike<number>): number | null {
  for (let at = values.length - 1; at >= 0; at -= 1) {
    const value = values[at];
    if (value !== undefined && Number.isFinite(value)) return value;
  }
  return null;
}

const SPOKEN_EVERY_MS = 10_000;

/** Said again only when it is asked for: the sentence follows at most every ten seconds. */
function Sentence({ source, name, kind }: { source: Scenes; name: string; kind: XKind }) {
  const [text, setText] = useState(() => sentenceOf(name, source.get(), kind));
  const [drawn, setDrawn] = useState(1);
  useEffect(() => {
    let timer: number | null = null;
    let spoken = 0;
    let saidNothing = true;
    const tell = (): void => {
      timer = null;
      spoken = Date.now();
      saidNothing = source.get().lines.length === 0;
      setText(sentenceOf(name, source.get(), kind));
      setDrawn(source.get().perBucket);
    };
    const soon = (): void => {
      const pause = saidNothing ? 50 : Math.max(50, SPOKEN_EVERY_MS - (Date.now() - spoken));
      timer ??= window.setTimeout(tell, pause);
    };
    tell();
    const unsubscribe = source.subscribe(soon);
    return () => {
      unsubscribe();
      if (timer !== null) window.clearTimeout(timer);
    };
  }, [source, name, kind]);
  return (
    <>
      <p className="visually-hidden">{text}</p>
      {drawn > 1 && <p className="chart-drawn">min and max of {formatInteger(drawn)} points per bucket</p>}
    </>
  );
}

const TABLE_ROWS = 200;

function SceneTable({ source, name, kind }: { source: Scenes; name: string; kind: XKind }) {
  const scene = useSyncExternalStore(source.subscribe, source.get);
  const rows = rowsOf(scene, TABLE_ROWS);
  return (
    <div className="chart-table" tabIndex={0} role="region" aria-label={`Values of ${name}`}>
      <table className="table">
        <thead>
          <tr>
            <th scope="col">{kind === "step" ? "step" : "time"}</th>
            {scene.lines.map((line) => (
              <th key={line.label} scope="col" className="number">
                {line.label}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.x}>
              <td>{kind === "step" ? formatFixed(row.x, 0) : formatX(row.x, kind)}</td>
              {row.values.map((value, at) => (
                <td key={at} className="number">
                  {value === null ? "–" : formatValue(value)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
