/** Where agents, models and tools stand: callers left of those they call. */

import dagre from "@dagrejs/dagre";

export interface Node {
  id: string;
  kind: string;
  name: string;
  count: number;
  errors: number;
  rate_per_s: number;
  p95_ms: number | null;
  queue_p95_ms?: number | null;
  depth: number | null;
  /** Durable work that waits now, also where nobody takes it. */
  queued: number | null;
}

export interface Edge {
  from: string;
  to: string;
  kind: string;
  count: number;
  errors: number;
  rate_per_s: number;
  p50_ms: number | null;
  p95_ms: number | null;
  queue_p95_ms: number | null;
  depth: number | null;
  subjects: string[];
}

/** What waits there: in its queue now, or else when it last took something. */
export const waiting = ({ queued, depth }: Node): number | null => queued ?? depth;

export const WIDTH = 200;
export const HEIGHT = 58;

/** The upper left corner of each node, in pixels. */
export function layout(nodes: readonly Node[], edges: readonly Edge[], down: boolean): Map<string, { x: number; y: number }> {
  const graph = new dagre.graphlib.Graph();
  graph.setGraph({ rankdir: down ? "TB" : "LR", nodesep: 26, ranksep: down ? 60 : 130 });
  graph.setDefaultEdgeLabel(() => ({}));
  for (const node of nodes) graph.setNode(node.id, { width: WIDTH, height: HEIGHT });
  for (const edge of edges) graph.setEdge(edge.from, edge.to);
  dagre.layout(graph);
  return new Map(
    nodes.map(({ id }) => {
      const { x, y } = graph.node(id);
      return [id, { x: x - WIDTH / 2, y: y - HEIGHT / 2 }];
    }),
  );
}
