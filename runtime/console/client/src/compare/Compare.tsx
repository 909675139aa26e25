/** Two runs or two cohorts, side by side. */

import type { ReactNode } from "react";

import { refine, useRoute } from "../route";
import { TwoCohorts } from "./TwoCohorts";
import { TwoRuns } from "./TwoRuns";

export default function Compare(): ReactNode {
  const cohorts = useRoute().query.get("of") === "cohorts";
  return (
    <>
      <h1>Compare</h1>
      <p className="tabs">
        <button type="button" aria-pressed={!cohorts} onClick={() => refine({ of: null })}>two runs</button>
        <button type="button" aria-pressed={cohorts} onClick={() => refine({ of: "cohorts" })}>two cohorts</button>
      </p>
      {cohorts ? <TwoCohorts /> : <TwoRuns />}
    </>
  );
}
