/** Sliders as the words of `antiphon whatif`. */

export interface Knobs {
  /** Slots by agent. */
  pools: Readonly<Record<string, number>>;
  /** Times as fast, by model. */
  speeds: Readonly<Record<string, number>>;
}

export const SPEEDS = [0.25, 0.5, 0.75, 1, 1.5, 2, 3, 4];

/** Twice as fast is half as long: durations are what the simulator scales. */
export function question({ pools, speeds }: Knobs): { pool: string[]; scale: string[] } {
  return {
    pool: Object.entries(pools).map(([agent, slots]) => `agent:${agent}=${slots}`),
    scale: Object.entries(speeds).map(([model, times]) => `model:${model}=${Number((1 / times).toPrecision(4))}`),
  };
}

/** How many values fall into each of `bins` classes of equal width from `low` to `high`. */
export function histogram(values: readonly number[], low: number, high: number, bins: number): number[] {
  const counts = new Array<number>(bins).fill(0);
  const width = (high - low) / bins || 1;
  for (const value of values) counts[Math.min(Math.max(Math.floor((value - low) / width), 0), bins - 1)]! += 1;
  return counts;
}
