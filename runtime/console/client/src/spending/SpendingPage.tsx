import type { ReactNode } from "react";

import { query as address, useData } from "../api";
import { Select, Waiting } from "../parts/Parts";
import { refine, useRoute } from "../route";
import type { Spending } from "../types";
import { SpendingTable } from "./SpendingTable";
import { WINDOWS } from "./windows";

/** Where time and tokens went, over all runs. */
export default function SpendingPage(): ReactNode {
  const { query } = useRoute();
  const window = WINDOWS.find(([s]) => s === query.get("window_s"))?.[0] ?? "3600";
  const answer = useData<{ spending: Spending[] }>(address("/api/spending", { window_s: window }));
  return (
    <>
      <h1>Where time and tokens went</h1>
      <div className="filters">
        <Select label="window" value={window} choices={WINDOWS} onChange={(s) => refine({ window_s: s })} />
      </div>
      {!answer.data ? <Waiting of={answer} /> : answer.data.spending.length ? (
        <>
          <SpendingTable rows={answer.data.spending} />
          <p className="soft">Seconds of work: what ran in parallel adds up. A handler's total includes what it waited for.</p>
        </>
      ) : <p className="empty">Nothing finished in this time.</p>}
    </>
  );
}
