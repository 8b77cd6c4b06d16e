import { test } from "node:test";
import assert from "node:assert/strict";
import { Peer } from "../peer.js";
import { briefStats } from "../rtcstats.js";
import { RTPClock } from "../rtpclock.js";
import { FakePeerConnection, fakeRTC, turn } from "./rtc.js";

/** A peer whose signals the test gets; `line.up` says whether there is a session. */
async function setUpPeer(t, as = "play", options = {}) {
  fakeRTC(t);
  t.mock.timers.enable({ apis: ["setInterval"] });
  t.mock.method(Date, "now", () => 1000);
  const line = { up: true, sent: [], send: (data) => line.up && void line.sent.push(data) === undefined && line.up };
  const told = [];
  const peer = new Peer(line, as, {
    setUp: (pc) => pc.addTransceiver("video", { direction: "recvonly" }),
    onchange: () => told.push(`${peer.ice}/${peer.connection}/${peer.server?.ice ?? ""}`),
    onended: (r) => told.push(r.word),
    ...options,
  });
  await turn();
  return { peer, line, told, pc: FakePeerConnection.last, take: () => line.sent.splice(0) };
}

const views = (sent) => sent.filter((d) => d.view).map((d) => `${d.view.ice}/${d.view.connection}`);

test("offers, trickles both ways, and takes the answer", async (t) => {
  const { peer, pc, take } = await setUpPeer(t, "play", { servers: [{ urls: "stun:s" }], policy: "relay" });
  assert.deepEqual([pc.config.iceServers, pc.config.iceTransportPolicy], [[{ urls: "stun:s" }], "relay"]);
  assert.deepEqual(take(), [{ offer: "offer 1", as: "play" }]);
  pc.found("candidate:1");
  pc.gathered();
  assert.deepEqual(take(), [{ candidate: "candidate:1", mid: "0" }, { candidate: "" }]);
  await peer.receive({ candidate: "candidate:s1", mid: "0" });
  assert.deepEqual(pc.candidates, [], "not before the answer");
  await peer.receive({ answer: "answer 1" });
  await peer.receive({ candidate: "" });
  assert.deepEqual([pc.remoteDescription.sdp, pc.candidates], ["answer 1", ["candidate:s1", ""]]);
  await peer.receive({ answer: "answer 1" });
  assert.equal(peer.ended, undefined, "an answer that comes twice is no fault");
});

test("two answers that come together are taken once", async (t) => {
  const { peer, pc } = await setUpPeer(t);
  const taken = t.mock.method(pc, "setRemoteDescription");
  await Promise.all([peer.receive({ answer: "answer 1" }), peer.receive({ answer: "answer 1" })]);
  assert.deepEqual([taken.mock.callCount(), peer.ended, peer.answered], [1, undefined, true]);
});

test("a peer that publishes says so in each signal", async (t) => {
  const { peer, pc, take } = await setUpPeer(t, "publish");
  pc.found("candidate:1");
  pc.ice("checking");
  peer.close();
  const sent = take();
  assert.deepEqual(sent.map((d) => d.as), Array(5).fill("publish"));
  assert.deepEqual(sent.map((d) => Object.keys(d).find((k) => k !== "as")), ["offer", "candidate", "view", "view", "close"]);
});

test("both states of the browser make one, which travels up at each change and every five seconds with numbers", async (t) => {
  const { peer, pc, told, take } = await setUpPeer(t);
  take();
  pc.ice("checking");
  pc.connection("connecting");
  pc.ice("connected");
  pc.connection("connected");
  pc.receives({ bytes: 5000, received: 10, decoded: 9 });
  t.mock.timers.tick(5000);
  await turn();
  pc.ice("disconnected");
  pc.connection("disconnected");
  pc.connection("failed");
  const sent = take();
  assert.deepEqual(views(sent), ["checking/new", "checking/connecting", "connected/connecting", "connected/connected", "connected/connected", "disconnected/connected", "disconnected/disconnected", "failed/failed"]);
  assert.deepEqual(sent[4].view.stats, {
    bytesReceived: 5000, bytesSent: 0, packetsLost: 0, framesReceived: 10, framesDecoded: 9, framesDropped: 0, framesSent: 0, freezeCount: 0, jitter: 2,
  });
  assert.deepEqual(told.at(-1), "failed/failed/");
  await peer.receive({ state: { ice: "disconnected", pair: "udp", rtt: 12 } });
  assert.equal(told.at(-1), "failed/failed/disconnected");
});

test("errors of candidates are said once", async (t) => {
  const { peer, pc, take } = await setUpPeer(t);
  take();
  for (let i = 0; i < 2; i++) pc.onicecandidateerror({ errorCode: 701, errorText: "STUN timed out", url: "stun:s" });
  await peer.receive({ answer: "a" });
  await peer.receive({ candidate: "bad" });
  assert.deepEqual(take().map((d) => d.view.error), ["701 STUN timed out stun:s", "candidate of the server: cannot parse"]);
});

test("an ICE restart waits for the answer that is awaited", async (t) => {
  const { peer, take } = await setUpPeer(t);
  take();
  peer.restart();
  peer.restart();
  await turn();
  assert.deepEqual(take(), []);
  await peer.receive({ answer: "answer 1" });
  await turn();
  assert.deepEqual(take(), [{ offer: "offer 2 restart", as: "play" }]);
  await peer.receive({ answer: "answer 2" });
  await turn();
  assert.deepEqual(take(), []);
});

test("what cannot be said without a session is said when it is there again", async (t) => {
  const { peer, pc, line, take } = await setUpPeer(t);
  take();
  line.up = false;
  pc.ice("checking");
  line.up = true;
  peer.linked();
  await turn();
  assert.deepEqual(take().map((d) => d.offer ?? d.view.ice), ["offer 1", "checking"], "the same offer again: its answer may be lost");
  await peer.receive({ answer: "answer 1" });
  peer.linked();
  await turn();
  assert.deepEqual(take().map((d) => d.offer ?? d.view.ice), ["checking", "offer 2 restart"], "candidates may be lost");
  await peer.receive({ answer: "answer 2" });
  pc.ice("connected");
  take();
  peer.linked();
  await turn();
  assert.deepEqual(take().map((d) => d.offer ?? d.view.ice), ["connected"]);
});

test("an offer that is made without a session waits for one, with its candidates", async (t) => {
  fakeRTC(t);
  t.mock.timers.enable({ apis: ["setInterval"] });
  const sent = [];
  let up = false;
  const peer = new Peer({ send: (data) => up && sent.push(data) > 0 }, "play", { setUp: () => {} });
  await turn();
  FakePeerConnection.last.found("candidate:1");
  up = true;
  peer.linked();
  assert.deepEqual(sent.map((d) => d.offer ?? d.candidate ?? d.view.ice), ["offer 1", "candidate:1", "new"]);
});

test("the end: by the server, by an answer that makes no sense, and from here", async (t) => {
  for (const [data, word] of [[{ close: { code: 4014, word: "unsupported", text: "reorder" } }, "unsupported"], [{ answer: "bad" }, "protocol"]]) {
    const { peer, pc, told, take } = await setUpPeer(t);
    take();
    await peer.receive(data);
    assert.deepEqual([peer.ended.word, peer.ice, pc.closed, told], [word, "closed", false, [word]], "its last picture may still be shown");
    peer.close();
    assert.deepEqual([pc.closed, views(take())], [true, ["closed/closed"]]);
    t.mock.timers.reset();
  }
  const { peer, told, take } = await setUpPeer(t);
  take();
  peer.close();
  await peer.receive({ close: { word: "gone" } });
  assert.deepEqual([told, take().at(-1)], [[], { close: { code: 4000, word: "done", text: "ended as asked" } }]);
});

test("numbers of both browsers", () => {
  const candidates = {
    l: { type: "local-candidate", candidateType: "host", protocol: "udp", address: "192.0.2.7", port: 50123 },
    r: { type: "remote-candidate", candidateType: "srflx", address: "192.0.2.1", port: 8189 },
  };
  const pair = { type: "candidate-pair", localCandidateId: "l", remoteCandidateId: "r", currentRoundTripTime: 0.0123 };
  const media = {
    c: { type: "codec", mimeType: "video/H264" },
    v: {
      type: "inbound-rtp", kind: "video", codecId: "c", bytesReceived: 100, packetsLost: 2, jitter: 0.004, framesReceived: 20, framesDecoded: 19, framesDropped: 1, freezeCount: 1,
      jitterBufferDelay: 2, jitterBufferEmittedCount: 20,
    },
    a: { type: "inbound-rtp", kind: "audio", bytesReceived: 10, packetsLost: 1, jitter: 0.5 },
  };
  const want = {
    pair: "udp host 192.0.2.7:50123 - srflx 192.0.2.1:8189", rtt: 12.3, bytesReceived: 110, bytesSent: 0, packetsLost: 3, jitter: 4, framesReceived: 20, framesDecoded: 19, framesDropped: 1,
    framesSent: 0, freezeCount: 1, delay: 100, codec: "video/H264",
  };
  const chromium = { ...candidates, ...media, p: pair, t: { type: "transport", selectedCandidatePairId: "p" } };
  const firefox = { ...candidates, ...media, p: { ...pair, selected: true, nominated: true, state: "succeeded" } };
  for (const report of [chromium, firefox]) assert.deepEqual(briefStats(new Map(Object.entries(report)).entries()), want);
  const out = {
    v: { type: "outbound-rtp", kind: "video", bytesSent: 900, framesSent: 30, remoteId: "r", qualityLimitationReason: "bandwidth" },
    r: { type: "remote-inbound-rtp", packetsLost: 4 },
  };
  const s = briefStats(Object.entries(out));
  assert.deepEqual([s.bytesSent, s.framesSent, s.packetsLost, s.limited], [900, 30, 4, "bandwidth"]);
});

test("media time of RTP timestamps, over their end and back", () => {
  const clock = new RTPClock();
  assert.deepEqual([clock.known, clock.at(5)], [false, undefined]);
  clock.set(2 ** 32 - 90_000, 10e6);
  assert.deepEqual([2 ** 32 - 90_000, 2 ** 32 - 45_000, 0, 90_000, 45_000].map((rtp) => clock.at(rtp)), [10, 10.5, 11, 12, 11.5]);
  for (let hours = 1; hours <= 30; hours++) assert.equal(clock.at((hours * 3600 * 90_000) % 2 ** 32), 11 + hours * 3600, `${hours} hours`);
  const far = new RTPClock();
  far.near(50_000);
  assert.equal(far.at((50_000.04 * 90_000) % 2 ** 32), 50_000.04);
  clock.near(50_000);
  clock.set(1000, 0);
  assert.equal(clock.at(1000), 0);
});
