/** The frame around every view: names of the pages, whether news arrive, light or dark. */

import { Component, lazy, Suspense, useEffect, useRef, type ComponentType, type ReactNode } from "react";

import { useFeedState } from "./feed";
import { Person } from "./Person";
import { link, useRoute } from "./route";
import { ThemeSwitch } from "./Theme";

interface Page {
  name: string;
  view: string;
  show: ComponentType;
}

/** Each view is a file of its own, fetched when it is first opened. */
const PAGES: Page[] = [
  { view: "runs", name: "Runs", show: lazy(() => import("./runs/Runs")) },
  { view: "findings", name: "Findings", show: lazy(() => import("./findings/Findings")) },
  { view: "topology", name: "Topology", show: lazy(() => import("./topology/Topology")) },
  { view: "live", name: "Live", show: lazy(() => import("./live/Live")) },
  { view: "chat", name: "Chat", show: lazy(() => import("./chat/Chat")) },
  { view: "tasks", name: "Tasks", show: lazy(() => import("./tasks/Tasks")) },
  { view: "models", name: "Models", show: lazy(() => import("./models/Models")) },
  { view: "whatif", name: "What-if", show: lazy(() => import("./whatif/WhatIf")) },
  { view: "compare", name: "Compare", show: lazy(() => import("./compare/Compare")) },
  { view: "agents", name: "Agents", show: lazy(() => import("./agents/Agents")) },
  { view: "spending", name: "Spending", show: lazy(() => import("./spending/SpendingPage")) },
  { view: "policies", name: "Policies", show: lazy(() => import("./policies/Policies")) },
  { view: "audit", name: "Audit", show: lazy(() => import("./audit/Audit")) },
  { view: "sql", name: "SQL", show: lazy(() => import("./sql/Sql")) },
];
const RunPage = lazy(() => import("./run/RunPage"));
const TracePage = lazy(() => import("./run/TracePage"));

export function App(): ReactNode {
  const route = useRoute();
  const live = useFeedState();
  const main = useRef<HTMLElement>(null);
  const first = useRef(true);
  const place = `${route.view}/${route.id ?? ""}`;
  useEffect(() => {
    if (first.current) {
      first.current = false;
      return;
    }
    scrollTo(0, 0);
    main.current?.focus({ preventScroll: true });
  }, [place]);
  useEffect(() => {
    document.querySelector("nav [aria-current]")?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }, [route.view]);
  const Shown = shown(route.view, route.id);
  return (
    <>
      <header>
        <a className="brand" href={link("runs")}>
          <img src="/icon.svg" alt="" width="20" height="20" />
          Antiphon
        </a>
        <nav aria-label="Pages" tabIndex={0}>
          {PAGES.map((page) => (
            <a key={page.view} href={link(page.view)} aria-current={page.view === route.view ? "page" : undefined}>
              {page.name}
            </a>
          ))}
        </nav>
        <span className={live.on ? "live on" : "live"} role="status">{live.words}</span>
        <Person />
        <ThemeSwitch />
      </header>
      <main id="page" tabIndex={-1} ref={main}>
        <Fence key={place}>
          <Suspense fallback={<p className="soft">loading…</p>}>
            <Shown />
          </Suspense>
        </Fence>
      </main>
    </>
  );
}

function shown(view: string, id: string | null): ComponentType {
  if (view === "runs" && id) return RunPage;
  if (view === "traces" && id) return TracePage;
  return (PAGES.find((page) => page.view === view) ?? PAGES[0]!).show;
}

/** A view that fails says so in its own place; the others go on. */
class Fence extends Component<{ children: ReactNode }, { error: Error | null }> {
  override state = { error: null };

  static getDerivedStateFromError(error: Error): { error: Error } {
    return { error };
  }

  override render(): ReactNode {
    const error: Error | null = this.state.error;
    return error ? <p className="note bad" role="alert">{(error as Error).message}</p> : this.props.children;
  }
}
