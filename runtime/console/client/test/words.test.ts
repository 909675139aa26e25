import { describe, expect, test } from "vitest";

import { Shown, words } from "../src/chat/turns";
import { bar, quantities, ranked } from "../src/findings/savings";
import { fields, message, talk } from "../src/parts/schema";
import { link, parse } from "../src/route";
import { said } from "../src/run/messages";
import type { Finding, Schema } from "../src/types";
import { asked, cohort, said as named } from "../src/cohort/cohort";
import { verdict } from "../src/compare/measured";
import { histogram, proposed, put, question, read, write, type Change } from "../src/whatif/question";
import { amount, span, when } from "../src/words";

describe("words", () => {
  test("times are short, and never 1000 of a unit", () => {
    expect([0.4, 5, 9.96, 999.6, 1500, 59_960, 3_600_000, null].map(span)).toEqual(
      ["400 µs", "5.0 ms", "10 ms", "1.0 s", "1.5 s", "1 m 00 s", "1 h 0 m", "unfinished"]);
  });
  test("a moment has its day only when that is not today", () => {
    const noon = new Date(2024, 4, 3, 12, 0, 0);
    expect(when(noon.getTime(), noon)).toBe("12:00:00");
    expect(when(noon.getTime(), new Date(2024, 4, 4))).toBe("3 May 12:00:00");
  });
  test("amounts have units", () => {
    expect([amount(2.1, "s"), amount(-0.5, "s"), amount(1234.5, "tokens"), amount(0.00212, "usd")]).toEqual(
      ["2.1 s", "-500 ms", "1,235 tokens", "$0.00212"]);
  });
});

describe("addresses", () => {
  test("an address and its parts are each other's inverse, for any id", () => {
    for (const id of ["r1", "a/b?c#d", "%", "<img>"]) expect(parse(link("runs", id)).id).toBe(id);
    expect(parse("")).toMatchObject({ view: "runs", id: null });
    expect(parse(link("runs", null, { agent: "a b", model: null })).query.get("agent")).toBe("a b");
    expect(parse("#/runs/%zz").id).toBe("%zz");
  });
});

describe("findings", () => {
  const finding = (id: string, state: string, latency: number): Finding =>
    ({ id, state, saving: { latency_s: { point: latency, low: 0, high: latency } }, realised: null }) as unknown as Finding;
  test("what is at work comes first, then by what it saves", () => {
    expect(ranked([finding("a", "dismissed", 9), finding("b", "open", 1), finding("c", "open", 2), finding("d", "canary", 0), finding("e", "gone", 9)]).map((f) => f.id))
      .toEqual(["d", "c", "b", "a", "e"]);
  });
  test("a prediction of nothing is not shown", () => {
    const none = { point: 0, low: 0, high: 0 };
    expect(quantities({ latency_s: { point: 1, low: 0, high: 2 }, latency_p95_s: null, tokens: none, model_s: null, usd: null }))
      .toMatchObject([{ unit: "s" }]);
  });
  test("an interval that reaches below nothing is drawn from its low end", () => {
    expect(bar({ point: 1, low: -1, high: 3 })).toEqual({ zero: 25, low: 0, point: 50, high: 100 });
    expect(bar({ point: 2, low: 1, high: 4 })).toEqual({ zero: 0, low: 25, point: 50, high: 100 });
  });
  test("what was predicted and what was measured are drawn on one scale", () => {
    const measured = { point: 1, low: 0, high: 2 };
    expect(bar(measured, [measured, { point: 2, low: 1, high: 4 }])).toEqual({ zero: 0, low: 0, point: 25, high: 50 });
  });
});

describe("conversation", () => {
  test("parts of captured messages, with calls of tools", () => {
    const captured = JSON.stringify([{ role: "user", parts: [{ type: "text", content: "hi" }] },
      { role: "assistant", parts: [{ type: "tool_call", name: "search", arguments: { q: 1 } }] }]);
    expect(said(captured, "user")).toEqual([{ role: "user", text: "hi", tool: null },
      { role: "assistant", text: '{\n "q": 1\n}', tool: "search" }]);
  });
  test("what was cut or is of another form is shown as it stands", () => {
    expect(said('[{"role":"us', "user")).toEqual([{ role: "user", text: '[{"role":"us', tool: null }]);
    expect(said([{ role: "user", content: "plain" }, "loose"], "user").map((s) => s.text)).toEqual(["plain", "loose"]);
    expect(said(undefined, "user")).toEqual([]);
  });
});

describe("forms", () => {
  const schema: Schema = {
    properties: {
      text: { type: "string" }, n: { type: "integer", default: 3 }, mood: { $ref: "#/$defs/Mood" },
      limit: { anyOf: [{ type: "number" }, { type: "null" }], default: null }, tags: { type: "array" },
    },
    required: ["text"], $defs: { Mood: { type: "string", enum: ["good", "bad"] } },
  };
  test("every property is a field of a kind that fits", () => {
    expect(fields(schema).map(({ name, kind, initial }) => [name, kind, initial])).toEqual(
      [["text", "text", ""], ["n", "integer", "3"], ["mood", "choice", ""], ["limit", "number", ""], ["tags", "json", ""]]);
  });
  test("a message has what was filled in, with the right types", () => {
    expect(message(fields(schema), { text: "", n: "4", tags: '["a"]' })).toEqual({ text: "", n: 4, tags: ["a"] });
  });
  test("a mistake names its field", () => {
    expect(() => message(fields(schema), { text: "a", n: "1.5" })).toThrow('n is "1.5", expected a whole number');
    expect(() => message(fields(schema), { text: "a", tags: "[" })).toThrow("tags is no JSON");
    expect(() => message([{ ...fields(schema)[1]!, required: true }], {})).toThrow("n is missing");
  });
  test("one talks into the field that is called so, or the only text; what else is needed is asked for", () => {
    expect(talk(schema)).toEqual({ field: "text", others: [] });
    const line: Schema = { properties: { user: { type: "string" }, text: { type: "string" } }, required: ["user", "text"] };
    expect(talk(line)).toMatchObject({ field: "text", others: [{ name: "user" }] });
    expect(talk({ properties: { a: { type: "string" }, b: { type: "string" } }, required: ["a", "b"] })).toBeNull();
    expect(talk({ properties: { n: { type: "integer" } }, required: ["n"] })).toBeNull();
    expect(talk({ properties: { text: { type: "string" }, x: { type: "object" } }, required: ["text", "x"] })).toBeNull();
  });
});

describe("chat", () => {
  test("what a second attempt says replaces what the first had said from there", () => {
    const shown = new Shown();
    shown.add("one ");
    shown.add("two ");
    expect(shown.restart(1)).toBe("one ");
    expect(shown.add("2")).toBe("one 2");
  });
  test("a reply is its one text, or all of it", () => {
    expect(words({ text: "yes" })).toBe("yes");
    expect(words({ a: "x", b: "y" })).toContain('"a": "x"');
  });
});

describe("what if", () => {
  const changes: Change[] = [
    { kind: "pool", target: "agent:critic", value: "8" }, { kind: "speed", target: "model:m", value: "2" },
    { kind: "cache", target: "tool:a; b%", value: "60" }, { kind: "parallelise", target: "agent:desk.look", value: "" },
  ];
  test("changes and the address are each other's inverse, for any name", () => {
    expect(read(write(changes))).toEqual(changes);
    expect(read("nothing agent:x 1;pool;%")).toEqual([]);
  });
  test("twice as fast is half as long, and a cache is equal calls with an age", () => {
    expect(question(changes)).toEqual({
      pool: ["agent:critic=8"], scale: ["model:m=0.5"], dedupe: ["tool:a; b%=60s"], parallelise: ["agent:desk.look"] });
  });
  test("of one kind and target there is one change", () => {
    expect(put(changes, "pool", "agent:critic", "4").filter(({ kind }) => kind === "pool")).toMatchObject([{ value: "4" }]);
    expect(put(changes, "pool", "agent:critic", null)).toHaveLength(3);
  });
  test("a finding's remedy is a change where replay can tell what it does", () => {
    const of = (action: { kind: string; [more: string]: unknown }, target: string, agent: string | null = null): unknown =>
      proposed({ action, target, agent });
    expect(of({ kind: "cache", ttl_s: 60 }, "tool search")).toEqual({ kind: "cache", target: "tool:search", value: "60" });
    expect(of({ kind: "single_flight" }, "model m", "writer")).toEqual({ kind: "single_flight", target: "model:writer", value: "" });
    expect(of({ kind: "concurrency", slots: 4 }, "critic")).toEqual({ kind: "pool", target: "agent:critic", value: "4" });
    expect(of({ kind: "parallelise", most: 8 }, "desk.look")).toEqual({ kind: "parallelise", target: "agent:desk.look", value: "" });
    expect(of({ kind: "hedge", delay_s: 2 }, "ask critic.review")).toEqual({ kind: "hedge", target: "agent:critic.review", value: "2" });
    expect(of({ kind: "retry", attempts: 2 }, "tool x")).toBeNull();
  });
  test("every value is counted once, the highest too", () => {
    expect(histogram([0, 1, 2, 4], 0, 4, 4)).toEqual([1, 1, 1, 1]);
    expect(histogram([1, 1], 1, 1, 3)).toEqual([2, 0, 0]);
  });
});

describe("cohorts", () => {
  test("an address names two, and times become milliseconds", () => {
    const query = new URLSearchParams("a.agent=x&b.agent=y&b.since=2024-05-03T12:00:00&agent=z&limit=3");
    expect(cohort(query)).toEqual({ agent: "z" });
    expect(asked(cohort(query, "b."))).toEqual({ agent: "y", since_unix_ms: new Date("2024-05-03T12:00:00").getTime() });
    expect(asked({ since: "soon" })).toEqual({});
    expect([named({}), named(cohort(query, "b."))]).toEqual(["all runs", "agent y, since 2024-05-03 12:00:00"]);
  });
  test("an interval with nothing in it may be chance", () => {
    const measured = { name: "latency", unit: "s", first: 2, second: 1, difference: -1, low: -1.5, high: -0.5, runs: [9, 9] as [number, number] };
    expect([measured, { ...measured, high: 0.1 }, { ...measured, low: null, high: null }, { ...measured, low: 0, high: 0 }].map(verdict))
      .toEqual(["50 % less", "may be chance", "", "the same"]);
  });
});
