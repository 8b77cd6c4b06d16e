import { test } from "node:test";
import assert from "node:assert/strict";
import { FakeWebSocket } from "./fake.js";
import { FakeMediaSource } from "./media.js";
import { BOTH, VIDEO, AUDIO, playing, setUpPlayer } from "./playing.js";
import { FakePeerConnection, fakeRTC, turn } from "./rtc.js";

/** The clock says that 1000 means 10 s. */
const rtp = (seconds) => 1000 + Math.round((seconds - 10) * 90_000);
const CLOCK = { rtp: 1000, time: 10e6 };
const H264 = { possible: true, video: "h264" };

/** A player that plays over the WebSocket, in a browser that has WebRTC. */
async function beside(t, options) {
  fakeRTC(t);
  const p = playing(t, options);
  p.video.present(10.6);
  return equip(p);
}

/** Adds what the tests say of WebRTC. */
function equip(p) {
  p.switches = [];
  p.player.ontransport = (c) => p.switches.push([c.from, c.to, c.why]);
  p.signal = async (data) => {
    p.ws.say({ t: "signal", path: "/cam", data });
    await turn();
  };
  /** What the player has sent since the last call: the data of signals, and of other messages their type. */
  p.sent = () => p.ws.take().filter((m) => m.t !== "ping").map((m) => (m.t === "signal" ? m.data : m.t));
  /** Lets time pass in which frames come, or not. */
  p.pass = async (ms, { received = 25, decoded = received, bytes = received * 1000 } = {}) => {
    for (let i = 0; i < ms; i += 100) {
      const n = (p.numbers ??= { bytes: 0, received: 0, decoded: 0 });
      n.bytes += bytes / 10;
      n.received += received / 10;
      n.decoded += decoded / 10;
      FakePeerConnection.last?.receives(n);
      p.tick(100);
      await turn();
    }
  };
  /** A frame of WebRTC is presented. */
  p.frame = (seconds, more = { rtpTimestamp: rtp(seconds) }) => {
    FakePeerConnection.last.played = [{ rtpTimestamp: rtp(seconds) }];
    p.video.present(0, more);
  };
  p.connect = async () => {
    await p.signal({ answer: "answer" });
    const pc = FakePeerConnection.last;
    pc.ice("checking");
    pc.ice("connected");
    pc.connection("connected");
    await turn();
  };
  return p;
}

/** A player whose picture has gone over to WebRTC. */
async function promoted(t, options) {
  const p = await beside(t, options);
  await p.signal({ about: H264, servers: [{ urls: "stun:s" }], clock: CLOCK });
  await p.connect();
  await p.pass(2600);
  p.sent();
  p.frame(11);
  return p;
}

test("asks, makes a connection beside WebSocket media, and goes over when frames are decoded steadily", async (t) => {
  const p = await beside(t);
  assert.deepEqual(p.sent().filter((d) => d.ask), [{ ask: true }]);
  await p.signal({ about: H264, servers: [{ urls: "stun:s" }] });
  const pc = FakePeerConnection.last;
  assert.deepEqual([pc.config.iceServers, pc.transceivers.map((x) => [x.kind, x.direction])], [[{ urls: "stun:s" }], [["video", "recvonly"]]]);
  assert.deepEqual(p.sent(), [{ offer: "offer 1", as: "play" }]);
  await p.connect();
  await p.pass(1500);
  assert.deepEqual([p.player.transport, p.video.srcObject ?? null], ["websocket", null]);
  await p.pass(1000);
  assert.deepEqual([p.player.transport, p.video.srcObject.tracks.map((x) => x.kind), p.video.src], ["webrtc", ["video"], undefined]);
  const sent = p.sent().filter((d) => !d.view);
  assert.deepEqual(sent.map((d) => (d.switch ? d.switch.to : d)), ["webrtc", "stop"]);
  assert.match(sent[0].switch.why, /^frames were decoded steadily for 2\d00 ms$/);
  assert.deepEqual(p.switches.map((s) => s.slice(0, 2)), [["websocket", "webrtc"]]);
  assert.deepEqual(p.client.log.filter((e) => e.kind === "ice").map((e) => [e.from, e.detail, e.light]), [["browser", "checking", "amber"], ["browser", "connected", "green"]]);
  const e = p.client.log.at(-1);
  assert.deepEqual([e.kind, e.path, e.from, e.transport, e.detail], ["switch", "/cam", "websocket", "webrtc", p.switches[0][2]]);
  assert.equal(p.player.state, "playing");
  const s = p.player.stats();
  assert.deepEqual([s.transport, s.webrtc.phase, s.webrtc.here], ["webrtc", "shown", "connected"]);
});

test("sound that WebRTC does not carry keeps the stream on the WebSocket, unless the application does without", async (t) => {
  const about = { possible: true, video: "h264", audio: "aac", without: "audio: aac is not carried by WebRTC" };
  const p = await beside(t);
  await p.signal({ about });
  await p.pass(5000);
  assert.equal(FakePeerConnection.all.length, 0);
  assert.deepEqual([p.player.transport, p.player.stats().webrtc.phase, p.player.stats().webrtc.detail], ["websocket", "off", about.without]);
  assert.deepEqual(p.client.log.filter((e) => e.kind === "ladder").map((e) => [e.path, e.detail, e.delay]), [["/cam", about.without, undefined]]);
  await p.signal({ about: { possible: false, video: "h264", reorder: true } });
  assert.equal(p.player.stats().webrtc.phase, "off");
});

test("the application may do without sound", async (t) => {
  const p = await beside(t, { incomplete: true });
  await p.signal({ about: { possible: true, video: "h264", audio: "aac", without: "audio: aac is not carried by WebRTC" } });
  await p.connect();
  await p.pass(2600);
  p.video.emit("playing");
  assert.deepEqual([p.player.transport, p.player.detail], ["webrtc", "audio: aac is not carried by WebRTC"]);
});

test("data comes at its frame on both sides of a switch, once and in order", async (t) => {
  const p = await beside(t);
  p.send.snapshot();
  p.data.length = 0;
  await p.signal({ about: H264, clock: CLOCK });
  await p.connect();
  await p.pass(2000);
  p.send.update(0, "10.64", 10640);
  p.send.update(1, "11", 11000);
  p.send.update(2, "11.2", 11200);
  p.video.present(10.64);
  await p.pass(400);
  assert.equal(p.player.transport, "webrtc");
  p.frame(11);
  p.send.update(3, "11.24", 11240);
  p.frame(11.2);
  p.frame(11.24);
  assert.deepEqual(p.data, [["10.64", 10.64], ["11", 11], ["11.2", 11.2], ["11.24", 11.24]]);
});

test("frames without a time of their own take that of what was played last", async (t) => {
  const p = await promoted(t);
  p.send.snapshot();
  p.send.update(0, "12", 12000);
  p.frame(12, {});
  assert.deepEqual(p.data.at(-1), ["12", 12]);
});

test("timestamps are media time where the server does not say otherwise", async (t) => {
  const p = await beside(t);
  await p.signal({ about: H264 });
  await p.connect();
  await p.pass(2600);
  p.send.snapshot();
  p.send.update(0, "12", 12000);
  p.video.present(0, { rtpTimestamp: 12 * 90_000 });
  assert.deepEqual([p.player.transport, p.data.at(-1)], ["webrtc", ["12", 12]]);
});

test("without a clock data does not wait for frames", async (t) => {
  fakeRTC(t);
  const p = equip(setUpPlayer(t, { transports: ["webrtc"] }));
  await p.signal({ about: H264 });
  await p.connect();
  await p.pass(2600);
  p.send.snapshot();
  p.send.update(0, "12", 12000);
  assert.deepEqual([p.player.transport, p.data.at(-1)], ["webrtc", ["12", null]]);
});

test("silence: the picture goes on over the WebSocket as soon as that is ahead of the last frame", async (t) => {
  const p = await promoted(t);
  const silence = { received: 0 };
  await p.pass(600, silence);
  assert.deepEqual(p.sent(), []);
  await p.pass(400, silence);
  assert.deepEqual(p.sent(), ["play"]);
  assert.deepEqual([p.player.state, p.player.transport], ["stalled", "webrtc"]);
  p.send.status("live", [VIDEO, AUDIO]);
  p.send.init(BOTH);
  p.send.video(20, 10.8, { key: true });
  p.send.video(21, 11.1);
  await p.pass(100, silence);
  assert.equal(p.player.transport, "webrtc", "the WebSocket has nothing newer either: it is the publisher that is silent");
  p.send.video(22, 11.4);
  await p.pass(100, silence);
  assert.deepEqual([p.player.transport, p.video.srcObject], ["websocket", null]);
  assert.match(p.switches.at(-1)[2], /^nothing came for \d+ ms$/);
  assert.ok(FakePeerConnection.last.closed);
  const sent = p.sent();
  assert.deepEqual(sent.map((d) => Object.keys(d)[0]), ["switch", "view", "close"]);
  FakeMediaSource.last.open();
  assert.deepEqual(FakeMediaSource.last.buffers[0].settle().length, 2, "the init segment, then all from the keyframe on");
  await p.pass(2600, silence);
  assert.deepEqual(p.sent(), [{ ask: true }], "and WebRTC is tried again");
});

test("a silence that ends in time changes nothing", async (t) => {
  const p = await promoted(t);
  await p.pass(1000, { received: 0 });
  assert.deepEqual(p.sent(), ["play"]);
  await p.pass(300);
  assert.deepEqual(p.sent(), ["stop"]);
  p.frame(12);
  assert.deepEqual([p.player.state, p.player.transport, FakePeerConnection.all.length], ["playing", "webrtc", 1]);
});

test("a publisher that leaves and comes back, while WebRTC brings the picture", async (t) => {
  const p = await promoted(t);
  await p.pass(1000, { received: 0 });
  p.send.status("waiting", undefined, { reason: { code: 4011, word: "gone", text: "the publisher is gone" } });
  await p.pass(20_000, { received: 0 });
  assert.deepEqual([p.player.state, p.player.transport, FakePeerConnection.all.length], ["waiting", "webrtc", 1]);
  p.send.status("live", [VIDEO, AUDIO]);
  await p.pass(500);
  p.frame(12);
  assert.deepEqual([p.player.state, p.player.transport], ["playing", "webrtc"]);
  assert.deepEqual(p.sent().filter((d) => typeof d === "string"), ["play", "stop"]);
});

test("a lost session leaves the picture alone; one that began anew does not", async (t) => {
  const p = await promoted(t);
  p.ws.end();
  await p.pass(500);
  let ws = FakeWebSocket.last;
  ws.welcome({ heartbeat: 0, resumed: true });
  await p.pass(500);
  assert.deepEqual([p.player.transport, FakePeerConnection.all.length], ["webrtc", 1]);
  assert.deepEqual(ws.take().filter((m) => m.t === "signal").map((m) => m.data.view?.ice), ["connected"]);
  ws.end();
  await p.pass(1100);
  ws = FakeWebSocket.last;
  ws.welcome({ heartbeat: 0, session: "s-2" });
  await p.pass(200);
  assert.deepEqual([p.player.state, p.player.stats().webrtc.phase, p.player.stats().webrtc.detail], ["stalled", "waiting", "the session began anew"]);
  assert.ok(ws.take().some((m) => m.t === "play"));
});

test("a pinned transport", async (t) => {
  fakeRTC(t);
  const p = equip(setUpPlayer(t, { transports: ["webrtc"] }));
  await turn();
  assert.deepEqual(p.sent(), ["hello", { ask: true }]);
  await p.signal({ about: H264 });
  await p.connect();
  await p.pass(300);
  assert.deepEqual([p.player.transport, p.player.state], ["webrtc", "starting"]);
  p.video.emit("playing");
  assert.equal(p.player.state, "playing");
  p.player.close();
  assert.deepEqual([p.video.srcObject, FakePeerConnection.last.closed, p.player.state], [null, true, "closed"]);
});

test("a pinned transport that does not come about says why", async (t) => {
  fakeRTC(t);
  const p = equip(setUpPlayer(t, { transports: ["webrtc"] }));
  await turn();
  await p.pass(3500);
  assert.deepEqual([p.player.state, p.player.detail], ["waiting", "no answer within 3000 ms"]);
  await p.pass(2500);
  await p.signal({ about: { possible: false, video: "hevc", without: "video: hevc is not carried by WebRTC" } });
  await p.pass(200);
  assert.deepEqual([p.player.state, p.player.detail], ["unsupported", "video: hevc is not carried by WebRTC"]);
});

test("an application may close the player when it is told something", async (t) => {
  const p = await beside(t);
  p.client.onevent = (e) => e.kind === "ladder" && p.player.close();
  p.sent();
  await p.signal({ about: { possible: false, reorder: true } });
  await p.pass(500);
  assert.deepEqual([p.player.state, p.sent(), FakePeerConnection.all.length], ["closed", ["unsubscribe", "stop"], 0]);
});

test("the element's pause holds the ladder", async (t) => {
  const p = await promoted(t);
  p.video.paused = true;
  p.video.emit("pause");
  await p.pass(5000, { received: 0 });
  assert.deepEqual([p.player.state, p.sent().filter((d) => !d.view)], ["paused", []]);
  p.video.paused = false;
  p.video.emit("play");
  await p.pass(1000, { received: 0 });
  assert.deepEqual(p.sent().filter((d) => !d.view), ["play"]);
});
