/** What nodes do differently: by whose wish, how far, and a way to change it. */

import { useState, type ReactNode } from "react";

import { act, useActions, useData, useThrottled } from "../api";
import type { Acts } from "../audit/Audit";
import { useNews } from "../feed";
import { StatusBadge, Table, Waiting } from "../parts/Parts";
import { link } from "../route";
import { percent, text, when } from "../words";
import type { Policy } from "./form";
import { PolicyForm } from "./PolicyForm";

interface Answer {
  policies: Policy[];
  /** Pairs that nodes cannot both follow, in words. */
  contradictions: string[];
}

export default function Policies(): ReactNode {
  const answer = useData<Answer>("/api/policies");
  const audit = useData<Acts>("/api/audit?limit=1000");
  const actions = useActions();
  const [chosen, setChosen] = useState<Policy | null>(null);
  const [said, setSaid] = useState("");
  const [problem, setProblem] = useState("");
  const reload = (): void => {
    answer.reload();
    audit.reload();
  };
  useNews(useThrottled(reload, 1_000));
  if (!answer.data) return <><h1>Policies</h1><Waiting of={answer} /></>;
  const { policies, contradictions } = answer.data;
  const remove = (id: string): void => {
    act("policy.remove", { id }).then(() => setProblem(""), (error: Error) => setProblem(error.message)).finally(reload);
  };
  const done = (id: string): void => {
    setSaid(`${id} is set; nodes follow within a second.`);
    setChosen(null);
    reload();
  };
  return (
    <>
      <h1>Policies</h1>
      {contradictions.map((each) => <p key={each} className="note bad" role="alert">{each}</p>)}
      {problem && <p className="note bad" role="alert">{problem}</p>}
      {actions.has("policy.set") && (
        <details className="card submit" open={chosen !== null || undefined} key={chosen?.id ?? said}>
          <summary>{chosen ? `Change ${chosen.id}` : "Set a policy"}</summary>
          <PolicyForm now={chosen ?? undefined} done={done} />
        </details>
      )}
      {said && <p role="status">{said}</p>}
      {policies.length ? (
        <Table name="Policies" keys={policies.map((each) => each.id)}
          columns={[["policy", "wide"], ["what"], ["target"], ["agent"], ["level"], ["by"], ["since", "n"], ["change"]]}
          rows={policies.map((each) => [
            <><b>{each.id}</b>{each.reason && <small> {each.reason}</small>}</>, what(each), each.proposal.target, each.proposal.agent ?? "everybody",
            <><StatusBadge name={each.level} />{how(each)}</>, <Author policy={each} acts={audit.data} />,
            when(each.since_unix_ms),
            <span className="actions">
              {actions.has("policy.set") && <button type="button" aria-label={`change ${each.id}`} onClick={() => setChosen(each)}>change</button>}
              {actions.has("policy.remove") && <button type="button" aria-label={`remove ${each.id}`} onClick={() => remove(each.id)}>remove</button>}
            </span>,
          ])} />
      ) : <p className="empty">None is stored. Findings propose them; those of a system's own code are not listed here.</p>}
    </>
  );
}

function what({ proposal: { action: { kind, ...parameters } } }: Policy): string {
  return [kind, ...Object.entries(parameters).map(([name, value]) => `${name}=${text(value)}`)].join(" ");
}

function how({ level, share, arms, slice_s }: Policy): string {
  return level === "canary" ? ` ${percent(share)} of ${arms === "run" ? "runs" : `${slice_s} s slices`}` : "";
}

/** A finding, or whoever set it here last; it may have been set elsewhere. */
function Author({ policy, acts }: { policy: Policy; acts: Acts | null }): ReactNode {
  if (policy.finding) return <a href={link("findings")}>finding {policy.finding.slice(0, 8)}</a>;
  const set = acts?.actions.find((each) =>
    each.action === "policy.set" && each.outcome === "ok" && (each.arguments.policy as Policy | undefined)?.id === policy.id);
  return set?.by ?? "a person";
}
