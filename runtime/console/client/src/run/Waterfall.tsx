/** A run's work over time. Names are elements, so that they can be read, found and reached; bars are a canvas. */

import { useEffect, useLayoutEffect, useMemo, useRef, useState, type KeyboardEvent, type ReactNode } from "react";

import type { Log } from "../types";
import { count, span } from "../words";
import { axis, gaps, ticks } from "./axis";
import { critical, share } from "./critical";
import { draw, ROW, type Scene } from "./draw";
import { lanes } from "./lanes";
import { usePalette } from "./palette";
import { find, open, type Line } from "./rows";
import { useZoom } from "./zoom";

const LINKS_DRAWN = 400;
const SPARE = 4; // rows rendered beyond those in sight

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
  const [top, setTop] = useState(0);
  const [size, setSize] = useState({ width: 0, height: 400 });
  const box = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
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
  const joins = useMemo(() => pairs(lines, rowOf), [lines, rowOf]);
  const found = useMemo(() => find(lines, wanted), [lines, wanted]);

  const firstRow = Math.max(Math.floor(top / ROW) - SPARE, 0);
  const inSight = rows.slice(firstRow, Math.ceil((top + size.height) / ROW) + SPARE);
  const y0 = firstRow * ROW - top;

  useLayoutEffect(() => {
    if (!canvas.current) return;
    const last = firstRow + inSight.length;
    const scene: Scene = {
      lines, rows: inSight.map((row) => row.items), top: y0, axis: scale, from, to, selected, marked, path,
      links: joins
        .filter(({ a, b }) => Math.max(a, b) >= firstRow && Math.min(a, b) < last)
        .slice(0, LINKS_DRAWN)
        .map(({ from: f, to: t, a, b }) => ({ from: f, to: t, fromRow: a - firstRow, toRow: b - firstRow })),
    };
    draw(canvas.current, scene, palette);
  });

  useEffect(() => {
    const at = box.current;
    if (!at) return;
    const watch = new ResizeObserver(() => setSize({ width: at.clientWidth, height: at.clientHeight }));
    watch.observe(at);
    const wheel = (event: WheelEvent): void => {
      if (!event.ctrlKey && !event.shiftKey) return;
      event.preventDefault();
      const area = canvas.current!.getBoundingClientRect();
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
  const click = (event: { clientX: number; clientY: number }): void => {
    const area = canvas.current!.getBoundingClientRect();
    const row = rows[Math.floor((event.clientY - area.top + top) / ROW)];
    if (!row) return;
    const ms = scale.time(from + ((event.clientX - area.left) / area.width) * (to - from));
    select(row.items.length === 1 ? row.items[0]! : row.items.findLast((at) => lines[at]!.start <= ms) ?? row.items[0]!, true);
  };

  const marks = ticks(scale, from, to, size.width < 560 ? 2 : 6);
  const left = (place: number): string => `${((place - from) / (to - from)) * 100}%`;
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
        <div className="axis" aria-hidden="true">
          <span>{byAgent ? "agent" : "work"}</span>
          <span className="track">
            {marks.map(({ ms, place }) => <span key={ms} className={place > to - 0.07 * (to - from) ? "last" : ""} style={{ left: left(place) }}>{ms ? span(ms) : "0"}</span>)}
            {logs.map((log, n) => {
              const at = scale.place(log.at_ms);
              return at < from || at > to ? null
                : <i key={n} className={`tick ${log.level}`} style={{ left: left(at) }} title={log.event} />;
            })}
          </span>
          <span />
        </div>
        <div className="fall-scroll" ref={box} tabIndex={0} role="tree" aria-label="work of this run" onKeyDown={press}
          onScroll={(event) => setTop(event.currentTarget.scrollTop)}
          aria-activedescendant={rowOf.has(selected) ? `row-${rowOf.get(selected)}` : undefined}
          onFocus={() => { if (selected < 0) select(rows[0]?.items[0] ?? -1); }}>
          <div className="fall-all" style={{ height: rows.length * ROW }} role="presentation">
            <div className="fall-sight" style={{ height: size.height }} role="presentation">
              <canvas ref={canvas} aria-hidden="true" onClick={click} />
              {inSight.map((row, n) => {
                const at = row.items.includes(selected) ? selected : row.items[0]!;
                return (
                  <Name key={byAgent ? firstRow + n : lines[at]!.id} number={firstRow + n} of={rows.length} y={y0 + n * ROW}
                    line={lines[at]!} name={row.name} flat={byAgent} works={row.items.length} selected={at === selected}
                    marked={row.items.some((each) => marked.has(each))}
                    closed={closed.has(lines[at]!.id)} parent={lines[at]!.last > at} onWay={onPath ? onWay.get(at) : undefined}
                    onClick={() => select(at, true)} />
                );
              })}
            </div>
          </div>
        </div>
      </div>
    </section>
  );
}

function Name(props: {
  number: number; of: number; y: number; line: Line; name: string; flat: boolean; works: number; selected: boolean;
  marked: boolean; closed: boolean; parent: boolean; onWay: number | undefined; onClick: () => void;
}): ReactNode {
  const { line, flat } = props;
  const took = line.finished ? span(line.end - line.start) : "unfinished";
  const notes = flat ? `${count(props.works)} pieces of work` : line.notes;
  const way = props.onWay ? `${span(props.onWay)} on the critical path` : "";
  return (
    <div id={`row-${props.number}`} role="treeitem" aria-level={flat ? 1 : line.depth + 1} aria-selected={props.selected}
      aria-setsize={props.of} aria-posinset={props.number + 1}
      aria-expanded={props.parent && !flat ? !props.closed : undefined} data-id={line.id}
      title={[props.name, notes, way].filter(Boolean).join(" · ")}
      className={`row${line.failed ? " failed" : ""}${props.marked ? " marked" : ""}`}
      style={{ transform: `translateY(${props.y}px)` }} onClick={props.onClick}>
      <span className="name" style={{ paddingLeft: 12 + (flat ? 0 : Math.min(line.depth, 12) * 14) }}>
        {!flat && props.parent ? <i aria-hidden="true">{props.closed ? "▸ " : "▾ "}</i> : null}
        {props.name}
        <small>{notes}</small>
        <span className="sr">{way}{props.marked ? " evidence" : ""}</span>
      </span>
      <span className="took">{flat ? "" : took}</span>
    </div>
  );
}

/** Links as pairs of lines with their rows. */
function pairs(lines: readonly Line[], rowOf: ReadonlyMap<number, number>): { from: number; to: number; a: number; b: number }[] {
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
