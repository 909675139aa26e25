import { describe, expect, it } from "vitest";

import { fields, message } from "../src/parts/schema";
import { leaves } from "../src/words";
import { formOf, kinds, policyOf, type Policy, type Schemas } from "../src/policies/form";

const SCHEMAS: Schemas = {
  Cache: { properties: { kind: { type: "string" }, ttl_s: { type: "number" } }, required: ["ttl_s"], description: "Answer again." },
  Priority: { properties: { kind: { type: "string" }, order: { anyOf: [{ type: "string" }, { type: "integer" }] } }, required: ["order"] },
  Level: { type: "string", enum: ["suggest", "on"], description: "The ladder." },
  Arms: { type: "string", enum: ["run", "time"] },
  Proposal: {
    properties: {
      action: { discriminator: { mapping: { cache: "#/components/schemas/Cache", priority: "#/components/schemas/Priority" } } },
      target: { type: "string" },
      agent: { anyOf: [{ type: "string" }, { type: "null" }], default: null },
    },
  },
  Policy: {
    properties: {
      id: { type: "string" }, level: { $ref: "#/components/schemas/Level", default: "suggest" }, share: { type: "number", default: 0.5 },
      arms: { $ref: "#/components/schemas/Arms", default: "run" }, slice_s: { type: "number", default: 10 }, reason: { type: "string", default: "" },
    },
  },
};
const NOW: Policy = {
  id: "mine", proposal: { action: { kind: "cache", ttl_s: 60 }, target: "tool search", agent: "writer" }, level: "on", share: 0.25,
  arms: "time", slice_s: 5, finding: "f1", since_unix_ms: 1, reason: "slow",
};

describe("a policy's form", () => {
  it("has the fields of its kind between target and level", () => {
    expect(kinds(SCHEMAS)).toEqual({ cache: "Cache", priority: "Priority" });
    const all = fields(formOf(SCHEMAS, "cache"));
    expect(all.map((each) => each.name)).toEqual(["target", "agent", "ttl_s", "level", "share", "arms", "slice_s", "reason", "id"]);
    expect(all.filter((each) => each.required).map((each) => each.name)).toEqual(["target", "ttl_s"]);
    expect(all.find((each) => each.name === "level")).toMatchObject({ kind: "choice", choices: ["suggest", "on"], initial: "suggest", hint: "The ladder." });
    expect(fields(formOf(SCHEMAS, "priority")).find((each) => each.name === "order")?.kind).toBe("json");
  });

  it("starts from what is stored, and gives the same policy back", () => {
    const all = fields(formOf(SCHEMAS, "cache", NOW));
    const filled = message(all, Object.fromEntries(all.map((each) => [each.name, each.initial])));
    const { since_unix_ms: _, ...rest } = NOW;
    expect(policyOf("cache", filled, NOW)).toEqual(rest);
  });

  it("names a new policy after what it does", () => {
    const made = policyOf("cache", { target: "tool search/deep", ttl_s: 3, level: "on" });
    expect(made).toEqual({
      id: "cache-tool-search-deep", finding: null, level: "on",
      proposal: { action: { kind: "cache", ttl_s: 3 }, target: "tool search/deep", agent: null },
    });
    expect(String(policyOf("cache", { target: "x".repeat(200) }).id)).toHaveLength(64);
  });

  it("knows nothing of a kind that the server does not have", () => {
    expect(fields(formOf(SCHEMAS, "")).map((each) => each.name)).not.toContain("ttl_s");
    expect(kinds({})).toEqual({});
  });
});

describe("what an action was given", () => {
  it("is told by its leaves", () => {
    expect(leaves({ policy: { id: "p", proposal: { action: { kind: "cache", ttl_s: 60 }, agent: null } }, reason: "", number: 0, list: [{ a: 1 }], sure: false }))
      .toEqual(['id="p"', 'kind="cache"', "ttl_s=60", "number=0", 'list=[{"a":1}]', "sure=false"]);
    expect(leaves({ text: "a b=c" })).toEqual(['text="a b=c"']);
  });
});
