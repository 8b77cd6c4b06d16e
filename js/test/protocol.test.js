import { test } from "node:test";
import assert from "node:assert/strict";
import { ProtocolError, encodeMedia, parseMedia, parseMessage, pathFault } from "../protocol.js";

const hex = (s) => Uint8Array.from(s.replaceAll(" ", "").match(/../g), (h) => parseInt(h, 16));
const toHex = (b) => Buffer.from(b).toString("hex");

const none = { kind: "all", init: false, key: false, discontinuity: false };
const media = [
  {
    value: { ...none, path: "/live/cam1", epoch: "00000000000000c3", offset: 40, dts: 0, init: true, data: "696e6974" },
    bytes: "01 01 00 0a 2f6c6976652f63616d31 00000000000000c3 0000000000000028 0000000000000000 696e6974",
  },
  {
    value: { ...none, kind: "video", path: "/é", epoch: "ffffffffffffffff", offset: 2 ** 53 - 1, dts: 1600000, key: true, discontinuity: true, data: "" },
    bytes: "01 06 01 03 2fc3a9 ffffffffffffffff 001fffffffffffff 0000000000186a00",
  },
  {
    value: { ...none, kind: "audio", path: "/a", epoch: "0000000000000000", offset: 0, dts: -5, data: "00" },
    bytes: "01 00 02 02 2f61 0000000000000000 0000000000000000 fffffffffffffffb 00",
  },
];

test("media messages, both ways", () => {
  for (const { value, bytes } of media) {
    const m = { ...value, data: hex(value.data || "00").subarray(value.data ? 0 : 1) };
    assert.equal(toHex(encodeMedia(m)), bytes.replaceAll(" ", ""));
    const got = parseMedia(hex(bytes));
    assert.deepEqual({ ...got, data: toHex(got.data) }, value);
  }
});

test("a media message that stands inside a larger buffer is read where it stands", () => {
  const whole = new Uint8Array([9, 9, 9, ...hex(media[0].bytes)]);
  assert.equal(parseMedia(whole.subarray(3)).path, "/live/cam1");
});

test("media messages that are cut short or name no path are refused; unknown kinds are passed over", () => {
  const good = hex(media[0].bytes);
  for (const n of [0, 1, 3, 4, 20, 37]) assert.throws(() => parseMedia(good.subarray(0, n)), ProtocolError, `${n} bytes`);
  assert.throws(() => parseMedia(hex("01 00 01 01 78" + "00".repeat(24))), /want "\/" first/);
  assert.throws(() => parseMedia(hex("01 00 01 02 2fff" + "00".repeat(24))), /not UTF-8/);
  assert.equal(parseMedia(hex("02 00")), null);
  assert.equal(parseMedia(hex("01 00 07 02 2f61" + "00".repeat(24))), null);
});

test("text messages", () => {
  const update = '{"t":"update","path":"/a","epoch":"00000000000000b2","offset":7,"at":1,"data":null,"new":1}';
  assert.equal(parseMessage(update).data, null);
  assert.deepEqual(parseMessage('{"t":"weather","path":7}'), { t: "weather", path: 7 }, "unknown types come as they are");
  assert.deepEqual(parseMessage('{"t":"pong","id":1,"at":null}'), { t: "pong", id: 1 }, "null is the same as nothing");
});

test("text messages that break the protocol say what was got and wanted", () => {
  const bad = [
    ["{", /not JSON/],
    ["[]", /want an object|not an object/],
    ['{"t":7}', /not an object with "t"/],
    ['{"t":"ack","id":1,"path":"/a","epoch":"B2","offset":1}', /field "epoch": got "B2"/],
    ['{"t":"ack","id":1,"path":"/a","epoch":"00000000000000b2","offset":-1}', /field "offset": got -1/],
    ['{"t":"ack","id":1,"path":"/a","epoch":"00000000000000b2","offset":9007199254740992}', /field "offset"/],
    ['{"t":"update","path":"/a","epoch":"00000000000000b2","offset":1,"at":1}', /want data, fields or patch/],
    ['{"t":"status","path":"/a","status":"odd"}', /field "status"/],
    ['{"t":"error"}', /field "reason": got nothing/],
    ['{"t":"constructor"}', null],
  ];
  for (const [text, want] of bad) {
    if (want) assert.throws(() => parseMessage(text), want, text);
    else parseMessage(text);
  }
});

test("paths", () => {
  for (const path of ["/a", "/fx/EURUSD", "/é/.x", "/" + "a".repeat(254)]) assert.equal(pathFault(path), "", path);
  for (const path of ["", "a", "/", "/a/", "/a//b", "/a/../b", "/..", "/" + "a".repeat(255), "/" + "é".repeat(128), 7]) assert.notEqual(pathFault(path), "", path);
});
