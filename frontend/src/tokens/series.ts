/** The fixed order of series: colour, dash and marker belong together in lines, legends, tables and swatches. */

export type Marker =
  | "circle"
  | "square"
  | "triangle-up"
  | "diamond"
  | "plus"
  | "triangle-down"
  | "cross"
  | "open-circle"
  | "open-square"
  | "open-diamond";

export interface SeriesStyle {
  readonly token: string;
  readonly dash: readonly number[];
  readonly marker: Marker;
}

export const seriesStyles: readonly SeriesStyle[] = [
  { token: "--series-1", dash: [], marker: "circle" },
  { token: "--series-2", dash: [7, 3], marker: "square" },
  { token: "--series-3", dash: [2, 2.5], marker: "triangle-up" },
  { token: "--series-4", dash: [8, 3, 2, 3], marker: "diamond" },
  { token: "--series-5", dash: [4, 3], marker: "plus" },
  { token: "--series-6", dash: [10, 3, 2, 3, 2, 3], marker: "triangle-down" },
  { token: "--series-7", dash: [1.5, 4], marker: "cross" },
  { token: "--series-8", dash: [12, 4], marker: "open-circle" },
  { token: "--series-9", dash: [5, 2, 1.5, 2], marker: "open-square" },
  { token: "--series-10", dash: [3, 5], marker: "open-diamond" },
];

/** The eleventh series and later have no colour of their own. */
export const plainStyle: SeriesStyle = { token: "--ink-3", dash: [], marker: "circle" };

export function styleOf(index: number): SeriesStyle {
  return seriesStyles[index] ?? plainStyle;
}

/** The value of a colour token now, for canvas. */
export function readToken(token: string): string {
  return getComputedStyle(document.documentElement).getPropertyValue(token).trim();
}
