/** A quantity in two groups of runs: pure. */

export interface Measured {
  name: string;
  unit: string;
  first: number;
  second: number;
  difference: number;
  low: number | null;
  high: number | null;
  runs: [number, number];
}

/** What the interval says, in words. */
export function verdict({ first, difference, low, high }: Measured): string {
  if (low === null || high === null) return "";
  if (low === 0 && high === 0) return "the same";
  if (low <= 0 && high >= 0) return "may be chance";
  const share = first ? `${Math.round((100 * Math.abs(difference)) / Math.abs(first))} % ` : "";
  return `${share}${difference < 0 ? "less" : "more"}`;
}
