/** What the newest runs have in them, to choose from. */

import { useMemo } from "react";

import { useData } from "../api";
import type { RunPage } from "../types";

export interface Names {
  workflows: string[];
  agents: string[];
  models: string[];
  /** `POLICY=treated` and `POLICY=control` of stored policies. */
  arms: string[];
}

const ARMS = ["treated", "control"];

export function useNames(): Names {
  const runs = useData<RunPage>("/api/runs?limit=200").data;
  const policies = useData<{ policies: { id: string }[] }>("/api/policies").data;
  return useMemo(() => ({
    workflows: distinct(runs?.runs.map((run) => run.title)),
    agents: distinct(runs?.runs.flatMap((run) => run.agents)),
    models: distinct(runs?.runs.flatMap((run) => run.models)),
    arms: policies?.policies.flatMap(({ id }) => ARMS.map((arm) => `${id}=${arm}`)) ?? [],
  }), [runs, policies]);
}

const distinct = (values: string[] | undefined): string[] => [...new Set(values)].sort();
