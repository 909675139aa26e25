/** A run's work over time. Names are elements, so that they can be read, found and reached; bars are a canvas. */

import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

import type { Log } from "../types";
import { count } from "../words";
import { axis, gaps } from "./axis";
import { critical, share } from "./critical";
import { drawGrid, hatching, ROW, type Scene } from "./draw";
import { lanes } from "./lanes";
import { Name } from "./Name";
import { usePalette } from "./palette";
import { find, open, type Line } from "./rows";
import { thinned, Tile, TILE, type Pair } from "./Tile";
import { Times } from "./Times";
import { useZoom } from "./zoom";

const SPARE = TILE / 2; // rows rendered above and below those in sight: scrolling runs ahead of scripts

interface Props {
  lines: Line[];
  logs: Log[];
  total: number;
  marked: ReadonlySet<number>;
  selected: number;
  onSelect: (at: number, details: boolean) => void;
}

export function Waterfall({ lines, logs, total, marked, selected, onSelect }: Props): ReactNode {
  const [byAgent, setByAgent] = useState(false);
  const [short, setShort] = useState(true);
  const [onPath, setOnPath] = useState(true);
  const [closed, setClosed] = useState<ReadonlySet<string>>(new Set());
  const [wanted, setWanted] = useState("");
  const [top, setTop] = useState(0); // the tile at the upper edge
  const [size, setSize] = useState({ width: 0, height: 400 });
  const box = useRef<HTMLDivElement>(null);
  const grid = useRef<HTMLCanvasElement>(null);
  const finder = useRef<HTMLInputElement>(null);
  const palette = usePalette();
  const { from, to, zoom, pan, fit } = useZoom();

  const whole = useMemo(() => Math.max(total, ...extremes(lines), 0.001), [lines, total]);
  const scale = useMemo(() => axis(whole, short ? gaps(lines, whole) : []), [lines, whole, short]);
  const way = useMemo(() => critical(lines), [lines]);
  const onWay = useMemo(() => share(way), [way]);
  const path = useMemo(() => Map.groupBy(onPath ? way : [], (part) => part.at), [way, onPath]);
  const rows = useMemo(
    () => (byAgent ? lanes(lines) : open(lines, closed).map((at) => ({ name: lines[at]!.label, items: [at] }))),
    [lines, closed, byAgent],
  );
  const rowOf = useMemo(() => {
    const found = new Map<number, number>();
    rows.forEach((row, n) => row.items.forEach((at) => found.set(at, n)));
    return found;
  }, [rows]);
  const joins = useMemo(() => thinned(pairs(lines, rowOf)), [lines, rowOf]);
  const found = useMemo(() => find(lines, wanted), [lines, wanted]);
  const evidence = useMemo(() => new Set([...marked].map((at) => rowOf.get(at))), [marked, rowOf]);
  const view = useMemo(() => ({ axis: scale, from, to }), [scale, from, to]);
  const hatch = useMemo(() => hatching(palette), [palette]);
  const scene = useMemo(
    (): Scene => ({ ...view, lines, selected, marked, path, palette, hatch }),
    [view, lines, selected, marked, path, palette, hatch],
  );

  const firstRow = Math.max(Math.floor(top * TILE - SPARE), 0);
  const inSight = rows.slice(firstRow, Math.ceil(top * TILE + size.height / ROW + TILE + SPARE));
  const firstTile = Math.floor(firstRow / TILE);
  const tiles = Math.ceil((firstRow + inSight.length) / TILE) - firstTile;

  useLayoutEffect(() => {
    if (grid.current) drawGrid(grid.current, view, palette);
  }, [view, palette, size]);

  useEffect(() => {
    const at = box.current;
    if (!at) return;
    const watch = new ResizeObserver(() => setSize({ width: at.clientWidth, height: at.clientHeight }));
    watch.observe(at);
    const wheel = (event: WheelEvent): void => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const area = grid.current!.getBoundingClientRect();
      if (event.shiftKey) pan((event.deltaY || event.deltaX) / area.width);
      else zoom(event.deltaY < 0 ? 0.8 : 1.25, (event.clientX - area.left) / area.width);
    };
    at.addEventListener("wheel", wheel, { passive: false });
    return () => { watch.disconnect(); at.removeEventListener("wheel", wheel); };
  }, [pan, zoom]);

  useEffect(() => {
    const slash = (event: globalThis.KeyboardEvent): void => {
      if (event.key !== "/" || (event.target as HTMLElement).closest("input, textarea, select")) return;
      event.preventDefault();
      finder.current?.focus();
    };
    addEventListener("keydown", slash);
    return () => removeEventListener("keydown", slash);
  }, []);

  const reveal = (row: number): void => {
    const at = box.current;
    if (!at || row < 0) return;
    if (row * ROW < at.scrollTop) at.scrollTop = row * ROW;
    else if ((row + 1) * ROW > at.scrollTop + at.clientHeight) at.scrollTop = (row + 1) * ROW - at.clientHeight;
  };
  useLayoutEffect(() => { reveal(rowOf.get(selected) ?? -1); }, [selected, rowOf]);

  const select = (at: number, details = false): void => {
    if (at < 0 || at >= lines.length) return;
    for (let up = lines[at]!.parent; up >= 0 && !byAgent; up = lines[up]!.parent) {
      if (closed.has(lines[up]!.id)) setClosed((old) => without(old, lines[up]!.id));
    }
    onSelect(at, details);
  };
  const step = (rowsOn: number): void => {
    const row = rows[Math.min(Math.max((rowOf.get(selected) ?? -1) + rowsOn, 0), rows.length - 1)];
    if (row) select(row.items[0]!);
  };
  const nextFound = (on: 1 | -1): void => {
    if (!found.length) return;
    const after = on > 0 ? found.find((at) => at > selected) : found.findLast((at) => at < selected);
    select(after ?? (on > 0 ? found[0]! : found.at(-1)!));
  };
  const sideways = (on: 1 | -1): void => {
    const line = lines[selected];
    if (!line) return;
    if (byAgent) {
      const items = rows[rowOf.get(selected)!]!.items;
      return select(items[items.indexOf(selected) + on] ?? selected);
    }
    if (on > 0) {
      if (closed.has(line.id)) setClosed(without(closed, line.id));
      else if (line.last > selected) select(selected + 1);
    } else if (line.last > selected && !closed.has(line.id)) setClosed(new Set(closed).add(line.id));
    else if (line.parent >= 0) select(line.parent);
  };
  const keys: Record<string, () => void> = {
    ArrowDown: () => step(1), ArrowUp: () => step(-1), PageDown: () => step(Math.floor(size.height / ROW)),
    PageUp: () => step(-Math.floor(size.height / ROW)), Home: () => step(-rows.length), End: () => step(rows.length),
    ArrowRight: () => sideways(1), ArrowLeft: () => sideways(-1), Enter: () => select(selected, true),
    n: () => nextFound(1), N: () => nextFound(-1), "+": () => zoom(0.8, 0.5), "-": () => zoom(1.25, 0.5), "0": fit,
  };
  const press = (event: KeyboardEvent): void => {
    const action = event.ctrlKey || event.metaKey || event.altKey ? undefined : keys[event.key];
    if (!action) return;
    event.preventDefault();
    action();
  };
  const choose = useRef({ select, rows, view });
  choose.current = { select, rows, view };
  const selectName = useCallback((at: number) => choose.current.select(at, true), []);
  const selectBar = useCallback((n: number, share: number) => {
    const { axis: of, from: first, to: last } = choose.current.view;
    const row = choose.current.rows[n];
    if (!row) return;
    const ms = of.time(first + share * (last - first));
    const before = row.items.length > 1 ? row.items.findLast((at) => lines[at]!.start <= ms) : undefined;
    choose.current.select(before ?? row.items[0]!, true);
  }, [lines]);

  return (
    <section aria-label="Waterfall">
      <div className="filters">
        <input ref={finder} type="search" placeholder="find  ( / )" aria-label="find in this run" value={wanted}
          onChange={(event) => setWanted(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter") { nextFound(event.shiftKey ? -1 : 1); }
            if (event.key === "Escape") box.current?.focus();
          }} />
        {wanted && <span className="soft" role="status">{count(found.length)} found</span>}
        <button type="button" aria-pressed={byAgent} onClick={() => setByAgent(!byAgent)}>by agent</button>
        <button type="button" aria-pressed={onPath} onClick={() => setOnPath(!onPath)}>critical path</button>
        <button type="button" aria-pressed={short} onClick={() => setShort(!short)}>shorten idle time</button>
        <button type="button" aria-label="zoom in" onClick={() => zoom(0.6, 0.5)}>+</button>
        <button type="button" aria-label="zoom out" onClick={() => zoom(1.7, 0.5)}>−</button>
        <button type="button" onClick={fit}>all</button>
      </div>
      <div className="fall">
        <Times view={view} logs={logs} heading={byAgent ? "agent" : "work"} narrow={size.width < 560} />
        <div className="fall-scroll" ref={box} tabIndex={0} role="tree" aria-label="work of this run" onKeyDown={press}
          onScroll={(event) => setTop(Math.floor(event.currentTarget.scrollTop / ROW / TILE))}
          aria-activedescendant={rowOf.has(selected) ? `row-${rowOf.get(selected)}` : undefined}
          onFocus={() => { if (selected < 0) select(rows[0]?.items[0] ?? -1); }}>
          <div className="fall-all" style={{ height: rows.length * ROW }} role="presentation">
            <canvas className="fall-sight" ref={grid} aria-hidden="true" style={{ height: size.height }} />
            {Array.from({ length: tiles }, (_, n) => (
              <Tile key={firstTile + n} first={(firstTile + n) * TILE} rows={rows} scene={scene} pairs={joins} width={size.width}
                onClick={selectBar} />
            ))}
            {inSight.map((row, n) => {
              const number = firstRow + n;
              const at = rowOf.get(selected) === number ? selected : row.items[0]!;
              return (
                <Name key={byAgent ? number : lines[at]!.id} number={number} of={rows.length} at={at}
                  line={lines[at]!} name={row.name} flat={byAgent} works={row.items.length} selected={at === selected}
                  marked={evidence.has(number)} closed={closed.has(lines[at]!.id)} parent={lines[at]!.last > at}
                  onWay={onPath ? onWay.get(at) : undefined} onClick={selectName} />
              );
            })}
          </div>
        </div>
      </div>
    </section>
  );
}

/** Links as pairs of lines with their rows. */
function pairs(lines: readonly Line[], rowOf: ReadonlyMap<number, number>): Pair[] {
  const place = new Map<string, number>();
  lines.forEach((line, at) => {
    place.set(line.id, at);
    if (line.caller) place.set(line.caller, at);
  });
  return lines.flatMap((line, to) =>
    line.links.flatMap((id) => {
      const from = place.get(id);
      const [a, b] = [rowOf.get(from ?? -1), rowOf.get(to)];
      return from === undefined || from === to || a === undefined || b === undefined ? [] : [{ from, to, a, b }];
    }),
  );
}

function without(closed: ReadonlySet<string>, id: string): ReadonlySet<string> {
  const next = new Set(closed);
  next.delete(id);
  return next;
}

/** The latest end; not by spreading, which has a limit of arguments. */
function extremes(lines: readonly Line[]): number[] {
  return [lines.reduce((most, line) => Math.max(most, line.end), 0)];
}
