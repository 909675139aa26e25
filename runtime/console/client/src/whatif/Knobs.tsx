/** Sliders for the slots of agents and models, and for how fast models are. */

import type { ReactNode } from "react";

import type { Inside } from "./Policies";
import { put, SPEEDS, type Change } from "./question";

export function Knobs({ changes, inside, onChange }: {
  changes: readonly Change[]; inside: Inside; onChange: (changes: Change[]) => void;
}): ReactNode {
  const now = (kind: string, target: string): number | undefined => {
    const found = changes.find((each) => each.kind === kind && each.target === target);
    return found && Number(found.value);
  };
  return (
    <div className="knobs">
      {Object.entries(inside.slots).sort().map(([target, slots]) => {
        const value = now("pool", target) ?? slots;
        return (
          <label key={target}>
            <span>slots of {target.slice(target.indexOf(":") + 1)}: <b>{value}</b>{value !== slots && ` (was ${slots})`}</span>
            <input type="range" min={1} max={Math.max(slots * 4, 8)} value={value}
              onChange={({ target: { value: to } }) => onChange(put(changes, "pool", target, Number(to) === slots ? null : to))} />
          </label>
        );
      })}
      {inside.models.map((model) => {
        const target = `model:${model}`;
        const value = now("speed", target) ?? 1;
        return (
          <label key={target}>
            <span>{model} is <b>{value}</b> times as fast</span>
            <input type="range" min={0} max={SPEEDS.length - 1} value={SPEEDS.indexOf(value)} aria-valuetext={`${value} times`}
              onChange={(event) => {
                const speed = SPEEDS[Number(event.target.value)]!;
                onChange(put(changes, "speed", target, speed === 1 ? null : String(speed)));
              }} />
          </label>
        );
      })}
    </div>
  );
}
