/** The part of the axis that is in sight, as places from 0 to 1. */

import { useCallback, useState } from "react";

const CLOSEST = 1e-6;

export interface View {
  from: number;
  to: number;
}

/** `times` as wide, with the time at `focus` (0 to 1 of what is in sight) staying where it is. */
export function zoomed({ from, to }: View, times: number, focus: number): View {
  const width = Math.min(Math.max((to - from) * times, CLOSEST), 1);
  return panned({ from: 0, to: width }, from + (to - from) * focus - width * focus);
}

/** Moved by a share of the axis, never beyond its ends. */
export function panned({ from, to }: View, by: number): View {
  const start = Math.min(Math.max(from + by, 0), 1 - (to - from));
  return { from: start, to: start + (to - from) };
}

export function useZoom(): View & {
  zoom: (times: number, focus: number) => void;
  pan: (share: number) => void;
  fit: () => void;
} {
  const [view, setView] = useState<View>({ from: 0, to: 1 });
  return {
    ...view,
    zoom: useCallback((times, focus) => setView((old) => zoomed(old, times, focus)), []),
    pan: useCallback((share) => setView((old) => panned(old, share * (old.to - old.from))), []),
    fit: useCallback(() => setView({ from: 0, to: 1 }), []),
  };
}
