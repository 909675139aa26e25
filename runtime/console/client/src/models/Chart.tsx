/** A chart of lines over time. */

import { useEffect, useRef, type ReactNode } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";

import { usePalette } from "../run/palette";

export interface Line {
  name: string;
  values: (number | null)[];
  colour: "accent" | "decode" | "tool" | "queue" | "bad";
}

const HEIGHT = 180;

const clock = (_: uPlot, times: number[]): string[] =>
  times.map((s) => new Date(s * 1000).toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" }));

export function Chart({ title, unix_s, lines, show }: {
  title: string; unix_s: number[]; lines: Line[]; show: (value: number | null) => string;
}): ReactNode {
  const box = useRef<HTMLDivElement>(null);
  const palette = usePalette();
  useEffect(() => {
    const at = box.current;
    if (!at) return;
    const axis = { stroke: palette.soft, grid: { stroke: palette.line, width: 1 }, ticks: { stroke: palette.line, width: 1 } };
    const plot = new uPlot(
      {
        width: Math.max(at.clientWidth, 200), height: HEIGHT, axes: [{ ...axis, values: clock }, { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => (tick ? show(tick) : "0")) }],
        series: [
          { value: (_, s) => (s === null ? "" : clock(_, [s])[0]!) },
          ...lines.map(({ name, colour }) => ({
            label: name, stroke: palette[colour], width: 1.5, spanGaps: true,
            value: (_: uPlot, value: number | null) => (value === null ? "" : show(value)),
          })),
        ],
      },
      [unix_s, ...lines.map(({ values }) => values)] as uPlot.AlignedData,
      at,
    );
    const watch = new ResizeObserver(() => plot.setSize({ width: Math.max(at.clientWidth, 200), height: HEIGHT }));
    watch.observe(at);
    return () => { watch.disconnect(); plot.destroy(); };
  }, [unix_s, lines, show, palette]);
  return <figure className="card chart"><figcaption>{title}</figcaption><div ref={box} /></figure>;
}
