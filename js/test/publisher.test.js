import { test } from "node:test";
import assert from "node:assert/strict";
import { Publisher } from "../publisher.js";
import { FakeWebSocket, setUp } from "./fake.js";
import { FakeMediaStream, FakePeerConnection, fakeRTC, turn } from "./rtc.js";

const track = (kind) => ({ kind, stopped: false, stop() { this.stopped = true; } });

/** A publisher of a picture and sound in a session. */
async function setUpPublisher(t, options = {}, more = {}) {
  fakeRTC(t);
  t.mock.method(globalThis, "setInterval", () => 0);
  const { client, tick } = setUp(t);
  const publisher = new Publisher(client, "/live/me", { random: () => 0.5, ...options });
  const states = [];
  publisher.onstate = (state, detail) => states.push(detail ? `${state}: ${detail}` : state);
  client.connect().catch(() => {});
  const ws = FakeWebSocket.last;
  if (!more.early) ws.welcome({ heartbeat: 0 });
  const tracks = [track("video"), track("audio")];
  await publisher.start(new FakeMediaStream(tracks));
  await turn();
  const p = { client, publisher, states, tracks, tick };
  p.pc = () => FakePeerConnection.last;
  p.sent = (from = FakeWebSocket.last) => from.take().filter((m) => m.t === "signal").map((m) => m.data).filter((d) => !d.view);
  p.signal = async (data, from = FakeWebSocket.last) => {
    from.say({ t: "signal", path: "/live/me", data: { as: "publish", ...data } });
    await turn();
  };
  /** The server answers the question that comes before each connection. */
  p.go = async () => {
    assert.deepEqual(p.sent().at(-1), { ask: true, as: "publish" });
    await p.signal({ about: { possible: true }, servers: [{ urls: "stun:its" }] });
  };
  if (!more.early && !more.asked) await p.go();
  p.connect = async () => {
    await p.signal({ answer: "answer" });
    p.pc().ice("connected");
    p.pc().connection("connected");
  };
  return p;
}

test("publishes a stream's tracks, the picture as H264 if it can be", async (t) => {
  const h264 = { mimeType: "video/H264" }, vp8 = { mimeType: "video/VP8" }, rtx = { mimeType: "video/rtx" }, odd = { mimeType: "video/odd" };
  globalThis.RTCRtpSender = { getCapabilities: () => ({ codecs: [vp8, rtx, odd, h264] }) };
  t.after(() => delete globalThis.RTCRtpSender);
  const p = await setUpPublisher(t, { maxBitrate: 1000, degradation: "maintain-framerate", iceServers: [{ urls: "stun:s" }] });
  assert.deepEqual(p.sent(), [{ offer: "offer 1", as: "publish" }]);
  const [video, audio] = p.pc().transceivers;
  assert.deepEqual([video.direction, audio.direction, video.codecs, audio.codecs], ["sendonly", "sendonly", [h264, vp8, rtx], undefined]);
  assert.equal(video.sender.parameters.degradationPreference, "maintain-framerate");
  assert.deepEqual(p.pc().config.iceServers, [{ urls: "stun:s" }]);
  await p.signal({ as: undefined, answer: "of one that plays" });
  assert.equal(p.pc().remoteDescription, null);
  await p.connect();
  assert.deepEqual(p.states, ["starting", "publishing"]);
  assert.deepEqual((await p.publisher.stats()).ice, "connected");
  p.publisher.stop();
  assert.deepEqual([p.publisher.state, p.pc().closed, p.tracks.map((x) => x.stopped)], ["stopped", true, [false, false]]);
  assert.deepEqual(p.sent().map((d) => d.close?.word), ["done"]);
});

test("waits for the session", async (t) => {
  const p = await setUpPublisher(t, {}, { early: true });
  assert.deepEqual([p.states, FakePeerConnection.all.length], [["waiting: for the session"], 0]);
  FakeWebSocket.last.welcome({ heartbeat: 0 });
  await turn();
  await p.go();
  assert.deepEqual([p.states.at(-1), p.sent()], ["starting", [{ offer: "offer 1", as: "publish" }]]);
  assert.deepEqual(p.pc().config.iceServers, [{ urls: "stun:its" }]);
});

test("a camera that was asked for is given back", async (t) => {
  const p = await setUpPublisher(t);
  p.publisher.stop();
  const mine = [track("video")], asked = [];
  const before = globalThis.navigator;
  Object.defineProperty(globalThis, "navigator", { configurable: true, value: { mediaDevices: { getUserMedia: async (c) => (asked.push(c), new FakeMediaStream(mine)) } } });
  t.after(() => Object.defineProperty(globalThis, "navigator", { configurable: true, value: before }));
  await p.publisher.start({ video: true });
  const other = track("video");
  await p.publisher.replaceTrack("video", other);
  assert.deepEqual([asked, mine[0].stopped], [[{ video: true }], true]);
  p.publisher.stop();
  assert.ok(other.stopped);
});

test("another track takes a track's place, on this connection and the next", async (t) => {
  const p = await setUpPublisher(t);
  await p.connect();
  const screen = track("video");
  await p.publisher.replaceTrack("video", screen);
  assert.equal(p.pc().transceivers[0].sender.track, screen);
  await p.publisher.replaceTrack("audio", null);
  p.pc().connection("failed");
  p.tick(1000);
  await p.go();
  assert.deepEqual([FakePeerConnection.all.length, p.pc().transceivers.map((x) => x.sender.track)], [2, [screen, null]]);
  await assert.rejects(p.publisher.replaceTrack("text", null), /nothing of that kind/);
});

test("a broken connection is healed by ICE restarts, or replaced", async (t) => {
  const p = await setUpPublisher(t);
  await p.connect();
  p.sent();
  p.pc().ice("disconnected");
  await turn();
  assert.deepEqual([p.states.at(-1), p.sent()], ["lost: ICE disconnected", [{ offer: "offer 2 restart", as: "publish" }]]);
  await p.signal({ answer: "answer 2" });
  p.pc().ice("connected");
  assert.equal(p.publisher.state, "publishing");
  p.pc().ice("disconnected");
  p.tick(9900);
  assert.equal(p.publisher.state, "lost");
  p.tick(200);
  assert.equal(p.states.at(-1), "waiting: ICE disconnected for 10000 ms");
  p.tick(1000);
  await p.go();
  assert.deepEqual([p.publisher.state, FakePeerConnection.all.length], ["starting", 2]);
});

test("attempts follow one another under a back-off", async (t) => {
  const p = await setUpPublisher(t);
  const waits = [];
  for (let i = 0; i < 4; i++) {
    await p.signal({ close: { code: 4009, word: "taken", text: "taken by rtmp-1", retry: true } });
    assert.equal(p.states.at(-1), "waiting: taken by rtmp-1");
    let ms = 0;
    for (; p.publisher.state === "waiting"; ms += 50) p.tick(50);
    await p.go();
    waits.push(ms);
  }
  assert.deepEqual(waits, [1000, 2000, 4000, 8000]);
  p.tick(10_000);
  assert.equal(p.states.at(-1), "waiting: no connection within 10000 ms");
});

test("a refusal is final, and it may be started again", async (t) => {
  const p = await setUpPublisher(t);
  await p.signal({ close: { code: 4007, word: "refused", text: "not yours" } });
  assert.deepEqual([p.states.at(-1), p.publisher.stream], ["refused: not yours", undefined]);
  p.tick(100_000);
  assert.equal(FakePeerConnection.all.length, 1);
  await p.publisher.start(new FakeMediaStream([track("video")]));
  assert.equal(p.publisher.state, "starting");
});

test("a server without WebRTC says so when it is asked", async (t) => {
  const p = await setUpPublisher(t, {}, { asked: true });
  await p.signal({ about: { possible: false }, reason: { code: 4014, word: "unsupported", text: "WebRTC is off on this server" } });
  assert.deepEqual([p.states.at(-1), FakePeerConnection.all.length], ["refused: WebRTC is off on this server", 0]);
});

test("a session that is lost and resumed leaves it alone; one that began anew does not; its end is the end", async (t) => {
  const p = await setUpPublisher(t);
  await p.connect();
  FakeWebSocket.last.end();
  p.tick(300);
  FakeWebSocket.last.welcome({ heartbeat: 0, resumed: true });
  await turn();
  assert.deepEqual([p.publisher.state, p.sent(), FakePeerConnection.all.length], ["publishing", [], 1]);
  FakeWebSocket.last.end();
  p.tick(1000);
  FakeWebSocket.last.welcome({ heartbeat: 0, session: "s-2" });
  await turn();
  await p.go();
  assert.deepEqual([p.publisher.state, FakePeerConnection.all.length], ["starting", 2]);
  p.client.disconnect();
  assert.deepEqual([p.publisher.state, p.pc().closed], ["stopped", true]);
});

test("what cannot be published", async (t) => {
  const p = await setUpPublisher(t);
  await assert.rejects(p.publisher.start(new FakeMediaStream([])), /started already/);
  p.publisher.stop();
  await assert.rejects(p.publisher.start(new FakeMediaStream([])), /no tracks/);
  globalThis.RTCPeerConnection = undefined;
  await assert.rejects(p.publisher.start(new FakeMediaStream([track("video")])), /no WebRTC/);
  globalThis.RTCPeerConnection = FakePeerConnection;
});
