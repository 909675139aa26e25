import { useState, type ReactNode } from "react";

import { act, useData } from "../api";
import { Select, Waiting } from "../parts/Parts";
import { SchemaForm } from "../parts/SchemaForm";
import { formOf, kinds, policyOf, type Described, type Policy } from "./form";

/** Set a policy, a new one or `now` changed. What the server refuses, a contradiction above all, it says in the form. */
export function PolicyForm({ now, done }: { now?: Policy | undefined; done: (id: string) => void }): ReactNode {
  const described = useData<Described>("/api/openapi.json");
  const [kind, setKind] = useState(now?.proposal.action.kind ?? "");
  if (!described.data) return <Waiting of={described} />;
  const { schemas } = described.data.components;
  const form = formOf(schemas, kind, kind === now?.proposal.action.kind ? now : undefined);
  return (
    <>
      <Select label="kind" value={kind} onChange={setKind}
        choices={[["", "choose a kind"], ...Object.keys(kinds(schemas)).map((each) => [each, each] as const)]} />
      {kind && (
        <>
          <p className="soft">{form.description}</p>
          <SchemaForm key={kind} schema={form} words="set the policy" onSend={async (filled) => {
            const stored = await act<Policy>("policy.set", { policy: policyOf(kind, filled, now) });
            done(stored.id);
          }} />
        </>
      )}
    </>
  );
}
