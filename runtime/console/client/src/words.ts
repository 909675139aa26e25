/** Numbers and times as people read them. */

export const count = (n: number): string => n.toLocaleString("en");

/** As `count`, but nothing for nothing. */
export const some = (n: number | null | undefined): string => (n ? count(n) : "");

/** A stretch of time in milliseconds; null is work whose end was not recorded. */
export function span(ms: number | null | undefined): string {
  if (ms === null || ms === undefined) return "unfinished";
  if (ms < 0) return `-${span(-ms)}`;
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 9.95) return `${ms.toFixed(1)} ms`;
  if (ms < 999.5) return `${Math.round(ms)} ms`;
  if (ms < 59_950) return `${(ms / 1000).toFixed(1)} s`;
  const s = Math.round(ms / 1000);
  if (s < 3600) return `${Math.floor(s / 60)} m ${String(s % 60).padStart(2, "0")} s`;
  return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} m`;
}

/** A moment; the day only where it is not `today`. */
export function when(unixMs: number, today: Date = new Date()): string {
  const date = new Date(unixMs);
  const time = date.toLocaleTimeString("en-GB");
  if (date.toDateString() === today.toDateString()) return time;
  return `${date.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** A quantity with its unit: seconds become words, dollars keep three digits. */
export function amount(value: number, unit: string): string {
  if (unit === "s") return value === 0 ? "0" : span(value * 1000);
  if (unit === "usd") return `$${Number(value.toPrecision(3))}`;
  return `${Math.abs(value) >= 1000 ? count(Math.round(value)) : Number(value.toPrecision(3))} ${unit}`;
}

export const percent = (share: number): string => `${Math.round(share * 100)} %`;

/** Any value as text: strings as they are, the rest as JSON. */
export const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value) ?? "");

/** What an object holds as `name=value`, however deep it stands; nothing is left out but what is empty. */
export function leaves(of: Record<string, unknown>): string[] {
  return Object.entries(of).flatMap(([name, value]) => {
    if (value === null || value === "") return [];
    const deep = typeof value === "object" && !Array.isArray(value);
    return deep ? leaves(value as Record<string, unknown>) : [`${name}=${JSON.stringify(value)}`];
  });
}
