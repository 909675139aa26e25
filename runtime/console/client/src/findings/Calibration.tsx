/** Whether predictions come true: one point for each measured finding, one picture for each pattern. */

import type { ReactNode } from "react";

import { useData } from "../api";
import type { Estimate } from "../types";
import { amount } from "../words";

interface Point {
  finding: string;
  pattern: string;
  title: string;
  unit: string;
  predicted: Estimate;
  realised: Estimate;
  error: number | null;
}

const SIDE = 160;
const UNITS: Record<string, string> = { s: "latency" };

export function Calibration(): ReactNode {
  const { data } = useData<{ points: Point[] }>("/api/calibration");
  if (!data?.points.length) return null;
  const groups = Map.groupBy(data.points, (point) => `${point.pattern.toUpperCase()}, ${UNITS[point.unit] ?? point.unit} saved a run`);
  return (
    <section aria-label="Calibration">
      <h2>Predicted and measured</h2>
      <p className="soft">On the line a prediction was right, below it too hopeful, above it too cautious. Bars are 90 % intervals. Means over all runs, also those that the finding is not about.</p>
      <div className="cards">
        {[...groups].map(([name, points]) => <Plot key={name} name={name} points={points} />)}
      </div>
    </section>
  );
}

function Plot({ name, points }: { name: string; points: Point[] }): ReactNode {
  const ends = points.flatMap(({ predicted: p, realised: r }) => [p.low, p.high, r.low, r.high, p.point, r.point, 0]);
  const [low, high] = [Math.min(...ends), Math.max(...ends)];
  const at = (value: number): number => (SIDE * (value - low)) / (high - low || 1);
  return (
    <figure className="card">
      <figcaption><b>{name}</b></figcaption>
      <svg className="calibration" viewBox={`-54 -6 ${SIDE + 70} ${SIDE + 32}`} role="img"
        aria-label={`${name}: ${points.length} measured findings`}>
        <path className="axes" d={`M0 0V${SIDE}H${SIDE}`} />
        {[low, high].map((value, n) => (
          <g key={n}>
            <text x={-4} y={SIDE - at(value) + (n ? 7 : 0)} textAnchor="end">{amount(value, points[0]!.unit)}</text>
            <text x={at(value)} y={SIDE + 11} textAnchor={n ? "end" : "start"}>{amount(value, points[0]!.unit)}</text>
          </g>
        ))}
        <text x={SIDE / 2} y={SIDE + 22} textAnchor="middle">predicted</text>
        <text x={-4} y={SIDE / 2} textAnchor="end">measured</text>
        <path className="even" d={`M0 ${SIDE}L${SIDE} 0`} />
        {points.map(({ finding, title, unit, predicted: p, realised: r }) => (
          <g key={finding}>
            <title>{`${title}: predicted ${amount(p.point, unit)}, measured ${amount(r.point, unit)}`}</title>
            <path d={`M${at(p.low)} ${SIDE - at(r.point)}H${at(p.high)}M${at(p.point)} ${SIDE - at(r.low)}V${SIDE - at(r.high)}`} />
            <circle cx={at(p.point)} cy={SIDE - at(r.point)} r="3" />
          </g>
        ))}
      </svg>
    </figure>
  );
}
