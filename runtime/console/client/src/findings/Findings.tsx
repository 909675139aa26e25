/** What the logging agent found, what it would save, and how far each remedy has come. */

import { useState, type ReactNode } from "react";

import { act, useActions, useData, useThrottled } from "../api";
import { useNews } from "../feed";
import { Waiting } from "../parts/Parts";
import type { Finding } from "../types";
import { Calibration } from "./Calibration";
import { FindingCard } from "./FindingCard";
import { ranked } from "./savings";

export default function Findings(): ReactNode {
  const answer = useData<{ findings: Finding[] }>("/api/findings");
  const policies = useData<{ policies: { id: string; finding: string | null }[] }>("/api/policies");
  const actions = useActions();
  const [problem, setProblem] = useState("");
  const both = (): void => { answer.reload(); policies.reload(); };
  const refresh = useThrottled(both, 700);
  useNews((kind) => {
    if (kind === "findings" || kind === "policies" || kind === "reset") refresh();
  });
  const perform = async (name: string, body: Record<string, unknown>): Promise<void> => {
    try {
      await act(name, body);
      setProblem("");
    } catch (error) {
      setProblem((error as Error).message);
    }
    both();
  };
  const policy = (id: string): string | null => policies.data?.policies.find(({ finding }) => finding === id)?.id ?? null;
  return (
    <>
      <h1>Findings</h1>
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {!answer.data ? <Waiting of={answer} /> : answer.data.findings.length ? (
        ranked(answer.data.findings).map((each) => (
          <FindingCard key={each.id} finding={each} policy={policy(each.id)} actions={actions} perform={perform} />
        ))
      ) : (
        <p className="empty">No findings yet. The logging agent speaks after a few runs of the same shape.</p>
      )}
      <Calibration />
    </>
  );
}
