/** The style sheet's colours, as a canvas needs them: resolved for light or dark. */

import { useEffect, useState } from "react";

import { THEME_CHANGED } from "../Theme";

const NAMES = [
  "text", "soft", "line", "card", "back", "hover", "accent", "handler", "model", "prefill", "decode", "tool", "other",
  "call", "queue", "bad", "critical", "good",
] as const;

export type Palette = Record<(typeof NAMES)[number], string>;

function read(): Palette {
  const probe = document.createElement("span");
  document.body.append(probe);
  const found = Object.fromEntries(
    NAMES.map((name) => {
      probe.style.color = `var(--${name})`;
      return [name, getComputedStyle(probe).color];
    }),
  ) as Palette;
  probe.remove();
  return found;
}

/** Anew when the person or the machine changes between light and dark. */
export function usePalette(): Palette {
  const [palette, setPalette] = useState(read);
  useEffect(() => {
    const change = (): void => setPalette(read());
    const system = matchMedia("(prefers-color-scheme: dark)");
    system.addEventListener("change", change);
    addEventListener(THEME_CHANGED, change);
    return () => {
      system.removeEventListener("change", change);
      removeEventListener(THEME_CHANGED, change);
    };
  }, []);
  return palette;
}
