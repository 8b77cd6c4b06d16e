import { test } from "node:test";
import assert from "node:assert/strict";
import { TrackBuffer } from "../buffer.js";
import { FakeMediaSource, ranges } from "./media.js";
import { init } from "./mp4.js";
import { AUDIO, BOTH, VIDEO, contents, playing, setUpPlayer } from "./playing.js";

test("each track goes to a buffer of its own, the picture from a keyframe on", (t) => {
  const p = setUpPlayer(t);
  p.send.status("live", [VIDEO, AUDIO]);
  p.send.init(BOTH);
  p.send.video(0, 0.96);
  p.send.audio(1, 0.98);
  FakeMediaSource.last.open();
  p.send.video(2, 1, { key: true });
  p.send.video(3, 1.04);
  const [picture, sound] = FakeMediaSource.last.buffers;
  assert.deepEqual([picture.mime, sound.mime], ['video/mp4; codecs="avc1.42c01e"', 'audio/mp4; codecs="mp4a.40.2"']);
  assert.deepEqual(picture.settle().map((d) => contents(d[1])), [["init"], ["v2", "v3"]]);
  assert.deepEqual(sound.settle().map((d) => contents(d[1])), [["init"], ["a1"]]);
  assert.ok(p.video.muted && p.states.includes("starting"));
});

test("starts near the live edge, muted, and says that it plays", (t) => {
  const { video, states, player } = playing(t);
  assert.ok(Math.abs(video.currentTime - 10.6) < 0.01, `${video.currentTime}`);
  assert.equal(video.paused, false);
  assert.deepEqual([states.at(-1), player.state], ["playing", "playing"]);
});

test("data comes at its frame; data without media time at once", (t) => {
  const { send, video, data, player } = playing(t);
  send.snapshot();
  send.update(0, "at 10.64", 10640);
  send.update(1, "no time");
  assert.deepEqual(data.splice(0), [["snapshot", null], ["no time", null]]);
  video.present(10.6);
  assert.deepEqual(data, []);
  video.present(10.64);
  assert.deepEqual(data, [["at 10.64", 10.64]]);
  const s = player.stats();
  assert.deepEqual([s.framesPresented, s.mediaTime, s.held, s.width], [2, 10.64, 0, 640]);
});

test("data comes without frames when the page is hidden, and when the publisher is gone", (t) => {
  const { send, video, data, tick } = playing(t);
  video.present(10.6);
  send.snapshot();
  send.update(0, "hidden", 10800);
  video.currentTime = 10.9;
  tick(700);
  send.update(1, "gone", 99000);
  send.status("waiting", undefined, { reason: { code: 4011, word: "gone", text: "the publisher is gone" } });
  tick(700);
  assert.deepEqual(data, [["snapshot", null], ["hidden", 10.9], ["gone", null]]);
});

test("after a reconnect nothing is appended twice, and an init segment that is in force is left out", (t) => {
  const { send, appended } = playing(t);
  appended();
  send.init(BOTH);
  send.video(0, 10, { key: true });
  send.video(25, 10.96);
  send.video(26, 11, { key: true });
  assert.deepEqual(appended(), [["v26"], []]);
});

test("another codec changes the type of the buffer; other kinds of tracks make a new media source", (t) => {
  const { send, appended } = playing(t);
  appended();
  const first = FakeMediaSource.last;
  send.status("live", [{ ...VIDEO, codec: "avc1.64001f" }, AUDIO]);
  send.init(init([1, "vide"], [2, "soun"], [3, "meta"]), { offset: 26 });
  send.video(26, 11, { key: true });
  assert.deepEqual(appended(), [["type", "init", "v26"], []]);
  send.status("live", [VIDEO]);
  send.init(init([1, "vide"]), { offset: 27 });
  assert.notEqual(FakeMediaSource.last, first);
});

test("a stream that begins anew is played from its new time", (t) => {
  const { send, video, appended, tick } = playing(t);
  appended();
  const epoch = "00000000000000ff";
  send.status("live", [VIDEO, AUDIO], { epoch });
  send.init(BOTH, { epoch });
  send.video(0, 0, { key: true, epoch });
  assert.deepEqual(appended()[0], ["remove", "v0"]);
  video.buffered = ranges([0, 0.6]);
  tick(300);
  assert.ok(video.currentTime < 1, `${video.currentTime}`);
});

test("a stall is counted, and over when frames come again", (t) => {
  const { video, player, states } = playing(t);
  video.emit("waiting");
  assert.deepEqual([player.state, player.stats().stalls], ["stalled", 1]);
  assert.ok(player.stats().targetLatency > 0.5);
  video.present(10.7);
  assert.deepEqual(states.slice(-2), ["stalled", "playing"]);
});

test("an error of the decoder makes it start again", (t) => {
  const { video, player, ws, tick } = playing(t);
  ws.take();
  video.error = { message: "PIPELINE_ERROR_DECODE" };
  video.emit("error");
  assert.deepEqual([player.state, player.detail], ["starting", "PIPELINE_ERROR_DECODE"]);
  tick(2100);
  assert.deepEqual(ws.take().map((m) => [m.t, m.from]), [["stop", undefined], ["play", "keyframe"]]);
});

test("a codec without a decoder is said; the other track is played without it", (t) => {
  const p = setUpPlayer(t);
  p.send.status("live", [{ ...VIDEO, codec: "hvc1.1.6.L93" }, AUDIO]);
  p.send.init(BOTH);
  FakeMediaSource.last.open();
  assert.deepEqual(FakeMediaSource.last.buffers.map((b) => b.mime), ['audio/mp4; codecs="mp4a.40.2"']);
  assert.match(p.player.detail, /^without video: this browser has no decoder for hvc1/);
  p.send.status("live", [{ ...VIDEO, codec: "hvc1.1.6.L93" }]);
  p.send.init(init([1, "vide"]));
  assert.equal(p.player.state, "unsupported");
});

test("a refused play, and closing", (t) => {
  const p = setUpPlayer(t);
  p.send.status("gone", undefined, { reason: { code: 4007, word: "refused", text: "not yours" } });
  assert.deepEqual([p.player.state, p.player.detail], ["gone", "not yours"]);
  p.ws.take();
  p.player.close();
  assert.deepEqual(p.ws.take(), [{ t: "unsubscribe", path: "/cam" }]);
  assert.equal(p.player.state, "closed");
});

test("the past is trimmed up to a keyframe, and a full buffer makes room", () => {
  const media = new FakeMediaSource();
  const b = new TrackBuffer(media, "video/mp4", true, () => {}, assert.fail);
  const [source] = media.buffers;
  const bytes = new Uint8Array([1]);
  for (let n = 0; n < 100; n++) b.append(bytes, n % 10 === 0, n);
  source.settle();
  source.buffered = ranges([0, 100]);
  b.trim(55);
  assert.deepEqual(source.settle(), [["remove", 0, 50]]);
  source.buffered = ranges([50, 100]);
  b.trim(58);
  assert.deepEqual(source.settle(), [], "less than a keyframe more");

  source.full = true;
  b.append(bytes, true, 100);
  assert.deepEqual(source.settle(), [["remove", 0, 100]]);
  source.full = false;
  b.append(bytes, false, 101);
  b.append(bytes, true, 102);
  assert.equal(source.settle().length, 1, "goes on at a keyframe");
});
