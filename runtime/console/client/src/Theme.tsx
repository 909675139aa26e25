/** Light, dark, or as the machine is set. */

import { useEffect, useState, type ReactNode } from "react";

type Theme = "auto" | "light" | "dark";
const NEXT: Record<Theme, Theme> = { auto: "dark", dark: "light", light: "auto" };
const SIGN: Record<Theme, string> = { auto: "◐", dark: "☾", light: "☀" };
const KEY = "antiphon-theme";

/** Canvases read colours themselves, and listen for this. */
export const THEME_CHANGED = "antiphon-theme";

export function ThemeSwitch(): ReactNode {
  const [theme, setTheme] = useState<Theme>(() => (localStorage.getItem(KEY) as Theme | null) ?? "auto");
  useEffect(() => {
    localStorage.setItem(KEY, theme);
    document.documentElement.style.colorScheme = theme === "auto" ? "light dark" : theme;
    dispatchEvent(new Event(THEME_CHANGED));
  }, [theme]);
  return (
    <button type="button" className="theme" onClick={() => setTheme(NEXT[theme])} aria-label={`Colours: ${theme}`}
      title={`colours: ${theme}`}>
      {SIGN[theme]}
    </button>
  );
}
