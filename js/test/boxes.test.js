import { test } from "node:test";
import assert from "node:assert/strict";
import { boxes, fragmentTrack, splitInit } from "../boxes.js";
import { box, fragment, init } from "./mp4.js";

const types = (b, inside) => {
  const list = boxes(b);
  const parent = inside && list.find((x) => x.type === inside);
  return boxes(b, parent?.body, parent?.end).map((x) => x.type);
};

test("an init segment is split into one for each track", () => {
  const parts = splitInit(init([1, "vide"], [2, "soun"], [7, "meta"]));
  assert.deepEqual(parts.map((p) => [p.id, p.kind]), [[1, "video"], [2, "audio"], [7, "other"]]);
  for (const { id, init: one } of parts) {
    assert.deepEqual(types(one), ["ftyp", "moov"]);
    assert.deepEqual(types(one, "moov"), ["mvhd", "trak", "mvex"]);
    assert.deepEqual(splitInit(one).map((p) => p.id), [id]);
    assert.deepEqual(splitInit(one)[0].init, one, "splitting one that is single changes nothing");
  }
});

test("a fragment tells its track", () => {
  assert.equal(fragmentTrack(fragment(2)), 2);
  assert.equal(fragmentTrack(box("mdat")), 0);
});

test("garbage gives nothing", () => {
  const whole = init([1, "vide"]);
  for (let n = 0; n < whole.length; n++) assert.deepEqual(splitInit(whole.subarray(0, n)), []);
  assert.deepEqual(boxes(new Uint8Array(16)), [{ type: "\0\0\0\0", start: 0, body: 8, end: 16 }], "size 0 reaches to the end");
  assert.deepEqual(boxes(new Uint8Array([0, 0, 0, 4, 1, 2, 3, 4])), []);
});
