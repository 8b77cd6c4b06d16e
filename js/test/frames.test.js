import { test } from "node:test";
import assert from "node:assert/strict";
import { Frames } from "../frames.js";

/** Frames at 25 a second, and what they emitted. */
function setUp(limit) {
  const got = [];
  const frames = new Frames((value, frame) => got.push([value, frame && +frame.mediaTime.toFixed(3), frame?.late]), limit);
  for (let n = 0; n < 5; n++) frames.received(n * 0.04);
  return { frames, got };
}

test("data is handed out at the nearest frame, not before", () => {
  const { frames, got } = setUp();
  for (const time of [1.0, 1.015, 1.025, 1.04]) frames.hold(time, time);
  frames.present(0.96);
  assert.deepEqual(got, []);
  frames.present(1.0);
  assert.deepEqual(got.splice(0), [[1.0, 1, false], [1.015, 1, false]]);
  frames.present(1.04);
  assert.deepEqual(got, [[1.025, 1.04, false], [1.04, 1.04, false]]);
});

test("data of frames that were not presented comes with the next one, in order", () => {
  const { frames, got } = setUp();
  for (const time of [1.08, 1.0, 1.04, 1.04]) frames.hold(time, `${time}`);
  frames.present(1.12);
  assert.deepEqual(got.map((g) => g[0]), ["1", "1.04", "1.04", "1.08"]);
});

test("data that comes after its frame is handed out at once and says so", () => {
  const { frames, got } = setUp();
  frames.present(2);
  frames.hold(1.5, "late");
  frames.hold(1.99, "this frame's");
  frames.hold(2.04, "the next one's");
  assert.deepEqual(got, [["late", 2, true], ["this frame's", 2, false]]);
  assert.equal(frames.held, 1);
});

test("when no frames come, what is held is handed out without", () => {
  const { frames, got } = setUp();
  frames.present(1);
  frames.hold(7, "a");
  frames.release();
  frames.hold(7, "b");
  assert.deepEqual(got, [["a", null, undefined]], "what comes later waits again");
});

test("no more than the limit is held: the earliest goes", () => {
  const { frames, got } = setUp(2);
  for (const time of [3, 1, 2]) frames.hold(time, time);
  assert.deepEqual([got, frames.held], [[[1, null, undefined]], 2]);
});

test("the interval is the usual one, whatever single frames do", () => {
  const { frames } = setUp();
  assert.ok(Math.abs(frames.interval - 0.04) < 1e-9);
  let at = 0.16;
  for (const step of [0.04, 0.5, 0.04, -3, 0.04, 0.041, 0.039]) frames.received((at += step));
  assert.ok(Math.abs(frames.interval - 0.04) < 1e-3, `${frames.interval}`);
});
