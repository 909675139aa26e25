/** How far back a table of totals looks: seconds, and words for them. */
export const WINDOWS = [
  ["900", "last 15 minutes"], ["3600", "last hour"], ["86400", "last day"], ["604800", "last week"],
] as const;
