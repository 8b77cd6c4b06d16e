import { test } from "node:test";
import assert from "node:assert/strict";
import { Edge } from "../edge.js";

const edge = () => new Edge({ latency: 0.4, maxLatency: 1, jump: 3 });
const near = (got, want) => assert.ok(Math.abs(got - want) < 0.02, `got ${got}, want ${want}`);

test("starts near the end of what is buffered, or at its beginning", () => {
  const move = edge().step(0, [{ start: 10, end: 12 }]);
  assert.equal(move.why, "start");
  near(move.seek, 11.6);
  near(edge().step(0, [{ start: 10, end: 10.1 }]).seek, 10);
  assert.deepEqual(edge().step(0, []), { rate: 1 });
});

test("plays a little faster while behind, a little slower while too near, and as it is when about right", () => {
  const e = edge();
  e.step(0, [{ start: 0, end: 10 }]);
  let time = 8.5, end = 10;
  const rates = [];
  for (let n = 0; n < 400; n++) {
    const { rate, seek } = e.step(time, [{ start: 0, end }]);
    assert.equal(seek, undefined);
    rates.push(rate);
    time += 0.1 * rate;
    end += 0.1;
  }
  assert.ok(Math.max(...rates) <= 1.08 && Math.max(...rates) > 1.05, "gently");
  assert.equal(rates.at(-1), 1);
  near((end - time) / 10, 0.04);

  time = end - 0.05;
  let slow = 1;
  for (let n = 0; n < 10; n++) slow = Math.min(slow, e.step(time, [{ start: 0, end }]).rate);
  assert.ok(slow < 1 && slow >= 0.92);
});

test("jumps when far behind", () => {
  const e = edge();
  e.step(0, [{ start: 0, end: 1 }]);
  const move = e.step(1, [{ start: 0, end: 9 }]);
  assert.equal(move.why, "behind");
  near(move.seek, 8.6);
});

test("goes over holes once it has reached them, and after removal to what is left", () => {
  const e = edge();
  e.step(0, [{ start: 0, end: 5 }]);
  const ranges = [{ start: 0, end: 5 }, { start: 6, end: 6.4 }];
  assert.equal(e.step(4.5, ranges).seek, undefined);
  const move = e.step(4.95, ranges);
  assert.equal(move.why, "hole");
  near(move.seek, 6);
  assert.equal(e.step(5.5, ranges).why, "hole", "in the middle of one");
  near(e.step(1, [{ start: 8, end: 8.5 }]).seek, 8);
  assert.equal(e.step(8.2, [{ start: 8, end: 8.5 }]).seek, undefined);
});

test("stalls raise the target up to the most, calm lowers it again; holes do not", () => {
  const e = edge();
  e.step(0, [{ start: 0, end: 5 }]);
  e.stalled();
  near(e.target, 0.55);
  e.step(5, [{ start: 0, end: 5 }, { start: 6, end: 7 }]);
  near(e.target, 0.4);
  for (let n = 0; n < 20; n++) e.stalled();
  assert.equal(e.target, 1);
  for (let n = 0; n < 100; n++) e.calm();
  assert.equal(e.target, 0.4);
});
