/** Numbers as a path in a box of 120 by 26, from nothing at the bottom to the highest; null breaks the line. */
export function stroke(values: readonly (number | null)[]): string {
  const high = Math.max(...values.map((value) => value ?? 0)) || 1;
  const step = values.length > 1 ? 118 / (values.length - 1) : 0;
  return values.map((value, n) => {
    if (value === null) return "";
    const at = `${(1 + n * step).toFixed(1)} ${(25 - (value / high) * 23).toFixed(1)}`;
    const begins = (values[n - 1] ?? null) === null;
    return begins ? `M${at}h0` : `L${at}`; // h0: a point between two gaps is a dot
  }).join("");
}
