import { describe, expect, test } from "vitest";

import { extended, renewed, type Page } from "../src/parts/pages";
import { stroke } from "../src/parts/stroke";

interface Item { id: string; start_unix_ms: number; status: string }

/** Items whose names are the times at which they began. */
const page = (times: number[], next: string | null, status = "ok"): Page<Item> =>
  ({ items: times.map((at) => ({ id: String(at), start_unix_ms: at, status })), next });
const id = (item: Item): string => item.id;
const times = ({ items }: Page<Item>): number[] => items.map((item) => item.start_unix_ms);

describe("lists that come page by page", () => {
  test("what came since is at the head, what is older stays, and each is as it is now", () => {
    const found = renewed(page([5, 4, 3, 2, 1], "1", "running"), page([7, 6, 5, 4], "4"), id);
    expect([times(found), found.next]).toEqual([[7, 6, 5, 4, 3, 2, 1], "1"]);
    expect(found.items.map((item) => item.status)).toEqual(["ok", "ok", "ok", "ok", "running", "running", "running"]);
  });
  test("what the head should have and has not is gone", () => {
    expect(times(renewed(page([5, 4, 3, 2], "2"), page([5, 3], "3"), id))).toEqual([5, 3, 2]);
    expect(times(renewed(page([5, 4, 3, 2], "2"), page([5], null), id))).toEqual([5]);
  });
  test("a head that does not reach what is kept begins anew, as does one that reaches its end", () => {
    const found = renewed(page([3, 2, 1], null), page([99, 98], "98"), id);
    expect([times(found), found.next]).toEqual([[99, 98], "98"]);
    expect(renewed(page([3, 2], "2"), page([3, 2], "again"), id).next).toBe("again");
  });
  test("the next page is added once", () => {
    const found = extended(page([3, 2], "2"), page([2, 1], null), id);
    expect([times(found), found.next]).toEqual([[3, 2, 1], null]);
  });
});

describe("sparklines", () => {
  test("where nothing is known is a gap, and a point between two gaps a dot", () => {
    expect(stroke([1, null, 2, 4, null])).toBe("M1.0 19.3h0M60.0 13.5h0L89.5 2.0");
  });
  test("nothing at all is a line at the bottom", () => {
    expect(stroke([0, 0])).toBe("M1.0 25.0h0L119.0 25.0");
    expect(stroke([])).toBe("");
  });
});
