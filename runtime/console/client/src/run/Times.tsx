/** The times above the rows, and the logs as marks among them. */

import { memo, useMemo, type ReactNode } from "react";

import type { Log } from "../types";
import { span } from "../words";
import { ticks } from "./axis";
import type { Span } from "./draw";

export const Times = memo(function Times({ view, logs, heading, narrow }: {
  view: Span; logs: readonly Log[]; heading: string; narrow: boolean;
}): ReactNode {
  const { axis, from, to } = view;
  const marks = useMemo(() => ticks(axis, from, to, narrow ? 2 : 6), [axis, from, to, narrow]);
  const left = (place: number): string => `${((place - from) / (to - from)) * 100}%`;
  return (
    <div className="axis" aria-hidden="true">
      <span>{heading}</span>
      <span className="track">
        {marks.map(({ ms, place }) => (
          <span key={ms} className={place > to - 0.07 * (to - from) ? "last" : ""} style={{ left: left(place) }}>{ms ? span(ms) : "0"}</span>
        ))}
        {logs.map((log, n) => {
          const at = axis.place(log.at_ms);
          return at < from || at > to ? null
            : <i key={n} className={`tick ${log.level}`} style={{ left: left(at) }} title={log.event} />;
        })}
      </span>
      <span />
    </div>
  );
});
