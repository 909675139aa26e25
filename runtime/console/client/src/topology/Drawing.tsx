/** The picture: each node leads to its runs, the table below has the same in words. */

import { Background, Controls, Handle, Position, ReactFlow, type Edge as FlowEdge, type Node as FlowNode, type NodeProps } from "@xyflow/react";
import "@xyflow/react/dist/style.css";
import { useMemo, type ReactNode } from "react";

import { link } from "../route";
import { count, span } from "../words";
import { layout, waiting, type Edge, type Node } from "./graph";

type Shown = FlowNode<{ node: Node; down: boolean }, "box">;

export function Drawing({ nodes, edges }: { nodes: Node[]; edges: Edge[] }): ReactNode {
  const down = innerWidth < 640;
  const boxes = useMemo((): Shown[] => {
    const places = layout(nodes, edges, down);
    return nodes.map((node) => ({
      id: node.id, type: "box", data: { node, down }, position: places.get(node.id) ?? { x: 0, y: 0 },
      ariaLabel: `${node.kind} ${node.name}: ${count(node.count)} calls`,
    }));
  }, [nodes, edges, down]);
  const arrows = useMemo(() => {
    const most = Math.max(...edges.map((edge) => edge.count), 1);
    return edges.map((edge, n): FlowEdge => ({
      id: String(n), source: edge.from, target: edge.to, animated: edge.rate_per_s > 0.1,
      label: `${edge.kind} ${count(edge.count)}${edge.p95_ms === null ? "" : ` · p95 ${span(edge.p95_ms)}`}`,
      className: edge.errors ? "failed" : "", style: { strokeWidth: 1 + 3 * Math.sqrt(edge.count / most) },
      ariaLabel: `${edge.from} to ${edge.to}`,
    }));
  }, [edges]);
  return (
    <div className="drawing" role="group" aria-label="Who talks to whom">
      <ReactFlow key={nodes.map((node) => node.id).join()} nodes={boxes} edges={arrows} nodeTypes={TYPES} fitView minZoom={0.2}
        nodesConnectable={false} nodesDraggable={false} edgesFocusable={false} proOptions={{ hideAttribution: true }}
        onNodeClick={(_, node) => visit((node as Shown).data.node)}>
        <Background />
        <Controls showInteractive={false} />
      </ReactFlow>
    </div>
  );
}

function visit({ kind, name }: Node): void {
  if (kind === "agent" || kind === "model") location.hash = link("runs", null, { [kind]: name });
}

function Box({ data: { node, down } }: NodeProps<Shown>): ReactNode {
  return (
    <div className={`box ${node.kind}${node.errors ? " failed" : ""}`}>
      <Handle type="target" position={down ? Position.Top : Position.Left} />
      <b>{node.name}</b>
      <small>
        {node.kind} · {count(node.count)}{node.p95_ms ? ` · p95 ${span(node.p95_ms)}` : ""}
        {waiting(node) ? ` · ${count(waiting(node)!)} waiting` : ""}
      </small>
      <Handle type="source" position={down ? Position.Bottom : Position.Right} />
    </div>
  );
}

const TYPES = { box: Box };
