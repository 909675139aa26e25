import { useState, type ReactNode } from "react";

import { act } from "../api";
import { Select } from "../parts/Parts";
import { SchemaForm } from "../parts/SchemaForm";
import { link } from "../route";
import type { AgentCard } from "../types";

/** A task from a form: the handler's schema says which fields there are. */
export function Submit({ agents, sent }: { agents: AgentCard[]; sent: () => void }): ReactNode {
  const handlers = agents.flatMap((agent) =>
    agent.handlers.map((handler) => ({ name: `${agent.name}.${handler.name}`, agent: agent.name, handler })));
  const [name, setName] = useState("");
  const [run, setRun] = useState<string | null>(null);
  const chosen = handlers.find((each) => each.name === name);
  return (
    <details className="card submit">
      <summary>Submit a task</summary>
      <Select label="handler" value={name} onChange={setName}
        choices={[["", "choose a handler"], ...handlers.map((each) => [each.name, each.name] as const)]} />
      {chosen && (
        <>
          <p className="soft">{chosen.handler.description}</p>
          <SchemaForm key={name} schema={chosen.handler.input.json_schema} words={`submit ${name}`} onSend={async (message) => {
            const made = await act<{ run: string }>("task.submit", {
              agent: chosen.agent, handler: chosen.handler.name, message,
            });
            setRun(made.run);
            sent();
          }} />
        </>
      )}
      {run && <p role="status">Submitted: <a href={link("runs", run)}>its run</a></p>}
    </details>
  );
}
