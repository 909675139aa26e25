/** What is written on a row: an element, so that it can be read, found and reached. */

import { memo, type ReactNode } from "react";

import { count, span } from "../words";
import { ROW } from "./draw";
import type { Line } from "./rows";

export const Name = memo(function Name(props: {
  number: number; of: number; at: number; line: Line; name: string; flat: boolean; works: number; selected: boolean;
  marked: boolean; closed: boolean; parent: boolean; onWay: number | undefined; onClick: (at: number) => void;
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
      style={{ top: props.number * ROW }} onClick={() => props.onClick(props.at)}>
      <span className="name" style={{ paddingLeft: 12 + (flat ? 0 : Math.min(line.depth, 12) * 14) }}>
        {!flat && props.parent ? <i aria-hidden="true">{props.closed ? "▸ " : "▾ "}</i> : null}
        {props.name}
        <small>{notes}</small>
        <span className="sr">{way}{props.marked ? " evidence" : ""}</span>
      </span>
      <span className="took">{flat ? "" : took}</span>
    </div>
  );
});
