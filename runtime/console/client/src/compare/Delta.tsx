/** Differences: less is good, whatever is measured but scores. */

import type { ReactNode } from "react";

import { amount } from "../words";

/** A difference with its sign. */
export function Signed({ by, unit, good = by < 0 }: { by: number; unit: string; good?: boolean }): ReactNode {
  return <span className={by === 0 ? "soft" : good ? "ok" : "error"}>{by > 0 ? "+" : ""}{by === 0 ? "0" : amount(by, unit)}</span>;
}

/** A bar from the middle, to the right for more; `most` is the length of the whole half. */
export function Delta({ by, most }: { by: number; most: number }): ReactNode {
  const width = (50 * Math.abs(by)) / most;
  return (
    <svg className="delta" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
      <rect className={by > 0 ? "more" : "less"} x={by > 0 ? 50 : 50 - width} width={width} y="1" height="8" />
    </svg>
  );
}
