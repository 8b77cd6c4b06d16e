import { test } from "node:test";
import assert from "node:assert/strict";
import { iceState } from "../ice.js";
import { Ladder } from "../ladder.js";
import { reason } from "../reasons.js";

const STEP = 100;

/** A ladder, what it sees, and time that passes in steps. Each change of what is wanted or of the phase is noted with its time. */
function climb(options) {
  const ladder = new Ladder({ random: () => 0.5, ...options });
  const c = {
    now: 0,
    e: { live: true, stream: "s1", refusal: undefined, ready: false, networks: 0, interval: 40, peer: undefined },
    /** Frames a second that are received and decoded, and whether bytes come. */
    flow: { received: 0, decoded: 0, bytes: false },
    notes: [],
    ladder,
  };
  const brief = () => {
    const { websocket, webrtc, show } = ladder.want;
    return [`${ladder.phase}${websocket ? " ws" : ""}${webrtc ? " rtc" : ""}`, show].join(" -> ");
  };
  let before = "", exact;
  c.step = () => {
    const { peer } = c.e;
    if (peer) {
      for (const what of ["received", "decoded"]) peer[what] = Math.floor((exact[what] += (c.flow[what] * STEP) / 1000) + 1e-6);
      peer.bytes += c.flow.bytes ? 10_000 : 0;
    }
    const want = ladder.step(c.now, c.e);
    if (want.webrtc && !c.e.peer) exact = { received: 0, decoded: 0 };
    if (want.webrtc && !c.e.peer) c.flow = { received: 0, decoded: 0, bytes: false };
    if (want.webrtc && !c.e.peer) c.e.peer = { ice: "new", connection: "new", bytes: 0, received: 0, decoded: 0, video: true };
    if (!want.webrtc) c.e.peer = undefined;
    if (ladder.phase === "asking") c.e.refusal = c.answers;
    else if (!want.webrtc && ladder.phase !== "off") c.e.refusal = undefined;
    if (!want.websocket) c.e.ready = false;
    if (brief() !== before) c.notes.push([c.now, (before = brief())]);
  };
  /** Lets ms pass, and returns what was noted meanwhile. */
  c.pass = (ms) => {
    for (const end = c.now + ms; c.now < end; c.now += STEP) c.step();
    return c.notes.splice(0);
  };
  c.connect = (flow = { received: 25, decoded: 25, bytes: true }) => {
    c.flow = flow;
    Object.assign(c.e.peer, { ice: "connected", connection: "connected" });
  };
  return c;
}

/** A ladder whose picture comes over WebRTC. */
function shown(options) {
  const c = climb(options);
  c.answers = "";
  c.e.ready = true;
  c.pass(200);
  c.connect();
  c.pass(3000);
  assert.deepEqual([c.ladder.phase, c.ladder.want.show], ["shown", "webrtc"]);
  c.notes.splice(0);
  return c;
}

test("WebSocket media comes first, and WebRTC takes over when it was steady for two seconds", () => {
  const c = climb();
  c.e.ready = true;
  assert.deepEqual(c.pass(300), [[0, "asking ws -> websocket"]]);
  assert.equal(c.ladder.want.why, "it comes first");
  c.answers = c.e.refusal = "";
  assert.deepEqual(c.pass(200), [[300, "trying ws rtc -> websocket"]]);
  c.e.peer.ice = "checking";
  c.pass(200);
  c.connect();
  assert.deepEqual(c.pass(3000), [[2700, "shown rtc -> webrtc"]]);
  assert.equal(c.ladder.want.why, "frames were decoded steadily for 2000 ms");
  assert.equal(c.ladder.want.attempt, 1);
});

test("nothing is asked before it is known what is published", () => {
  const c = climb();
  c.e.stream = "";
  c.pass(5000);
  assert.deepEqual([c.ladder.phase, c.ladder.want.attempt, c.ladder.want.websocket], ["off", 0, true]);
  c.e.stream = "s1";
  c.pass(STEP);
  assert.equal(c.ladder.phase, "asking");
});

test("what WebRTC does not carry stays on the WebSocket until another stream comes", () => {
  const c = climb();
  c.answers = "audio: aac is not carried by WebRTC";
  assert.deepEqual(c.pass(100_000), [[0, "asking ws -> websocket"], [100, "off ws -> websocket"]]);
  assert.equal(c.ladder.detail, c.answers);
  c.e.networks++;
  assert.deepEqual(c.pass(5000), [], "another network does not help");
  c.answers = "";
  c.e.stream = "s2";
  assert.deepEqual(c.pass(200), [[105_000, "asking ws -> websocket"], [105_100, "trying ws rtc -> websocket"]]);
});

test("one transport alone is pinned", () => {
  const ws = climb({ transports: ["websocket"] });
  assert.deepEqual(ws.pass(20_000), [[0, "off ws -> websocket"]]);
  assert.deepEqual([ws.ladder.want.why, ws.ladder.want.attempt], ["pinned", 0]);

  const rtc = climb({ transports: ["webrtc"] });
  rtc.e.stream = "";
  rtc.answers = "";
  assert.deepEqual(rtc.pass(200), [[0, "asking -> "], [100, "trying rtc -> "]]);
  rtc.connect();
  assert.deepEqual(rtc.pass(500), [[200, "shown rtc -> webrtc"]], "with its first frame");
  assert.equal(rtc.ladder.want.why, "pinned");
});

test("without media sources in the browser WebRTC shows its first frame", () => {
  const c = climb();
  c.answers = "";
  c.e.broken = "no media source extensions";
  c.pass(200);
  c.connect();
  assert.deepEqual(c.pass(300), [[200, "shown rtc -> webrtc"]]);
  assert.equal(c.ladder.want.why, "WebSocket media cannot be shown here");
});

// What does not come about while WebRTC is tried: how it looks, when it is given up, and what is said.
const attempts = [
  { name: "the server does not say whether it makes sense", set: (c) => (c.answers = undefined), at: 3000, why: /^no answer within 3000 ms$/ },
  { name: "the offer gets no answer", set: () => {}, at: 3100, why: /^no answer to the offer within 3000 ms$/ },
  { name: "checking finds no pair", set: (c) => (c.e.peer.ice = "checking"), at: 2200, why: /^ICE checked for 2000 ms and found no pair$/ },
  { name: "an answer without candidates", set: (c) => (c.e.peer.answered = true), at: 2200, why: /^ICE had nothing to check for 2000 ms and found no pair$/ },
  { name: "a pair without DTLS", set: (c) => Object.assign(c.e.peer, { ice: "connected", connection: "connecting" }), at: 2200, why: /^no DTLS 2000 ms after ICE had a pair$/ },
  { name: "ICE fails", set: (c) => (c.e.peer.ice = "failed"), at: 200, why: /^ICE failed$/ },
  { name: "the server is out of peers", set: (c) => (c.e.peer.ended = reason("limit")), at: 200, why: /a limit of the server/ },
  { name: "no media comes", set: (c) => c.connect({ received: 0, decoded: 0, bytes: false }), at: 2200, why: /^nothing came for 2000 ms$/ },
  { name: "frames in another order than shown", set: (c) => c.connect({ received: 25, decoded: 1, bytes: true }), at: 1200, why: /^1 of 25 frames decoded in 1000 ms$/ },
  { name: "bytes and no frames", set: (c) => c.connect({ received: 0, decoded: 0, bytes: true }), at: 10_200, why: /^frames were not decoded steadily within 10000 ms$/ },
];

for (const { name, set, at, why } of attempts) {
  test(`an attempt is given up and made again under a back-off: ${name}`, () => {
    const c = climb();
    c.e.ready = true;
    if (name.startsWith("the server does not")) set(c);
    else c.answers = "";
    c.pass(200);
    if (c.e.peer) set(c);
    const notes = c.pass(at + 1000 - c.now);
    assert.deepEqual(notes, [[at, "waiting ws -> websocket"]]);
    assert.match(c.ladder.detail, why);
    assert.equal(c.ladder.next, at + 2000);
    assert.deepEqual(c.pass(1100), [[at + 2000, "asking ws -> websocket"]].concat(c.answers === "" ? [[at + 2100, "trying ws rtc -> websocket"]].filter(() => c.now > at + 2100) : []));
    assert.equal(c.ladder.want.attempt, 2);
  });
}

test("the back-off doubles up to a minute, spread by a quarter, and begins anew with another network", () => {
  for (const [random, factor] of [[0, 0.75], [0.5, 1], [1, 1.25]]) {
    const c = climb({ random: () => random });
    const waits = [];
    for (let i = 0; i < 7; i++) {
      while (c.ladder.phase !== "waiting") c.pass(STEP);
      waits.push((c.ladder.next - c.now + STEP) / factor);
      while (c.ladder.phase === "waiting") c.pass(STEP);
    }
    assert.deepEqual(waits, [2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000]);
    while (c.ladder.phase !== "waiting") c.pass(STEP);
    c.e.networks++;
    c.pass(STEP);
    assert.equal(c.ladder.phase, "asking", "at once");
    while (c.ladder.phase !== "waiting") c.pass(STEP);
    assert.equal((c.ladder.next - c.now + STEP) / factor, 2000);
  }
});

test("a server that refuses for good is not asked again", () => {
  const c = climb();
  c.answers = "";
  c.pass(200);
  c.e.peer.ended = reason("unsupported", "frames in another order");
  c.pass(100_000);
  assert.deepEqual([c.ladder.phase, c.ladder.detail, c.ladder.want.attempt], ["off", "frames in another order", 1]);
});

test("an unsteady picture does not take over", () => {
  const c = climb();
  c.e.ready = true;
  c.answers = "";
  c.pass(200);
  c.connect();
  for (let i = 0; i < 5; i++) {
    c.flow = { received: 25, decoded: 25, bytes: true };
    c.pass(1200);
    c.flow = { received: 0, decoded: 0, bytes: true };
    c.pass(800);
  }
  assert.deepEqual([c.ladder.want.show, c.ladder.want.attempt], ["websocket", 1]);
  c.pass(300);
  assert.deepEqual([c.ladder.phase, c.ladder.detail], ["waiting", "frames were not decoded steadily within 10000 ms"]);
});

// What ends a picture over WebRTC: when WebSocket media is asked for, counted from the fault, and what is said at the switch.
const faults = [
  { name: "nothing comes", set: (c) => (c.flow = { received: 0, decoded: 0, bytes: false }), after: 600, why: /^nothing came for 900 ms$/ },
  { name: "frames are received and not decoded", set: (c) => (c.flow.decoded = 0), after: 500, why: /^\d of 25 frames decoded in 1000 ms$/ },
  { name: "bytes come and no frames", set: (c) => Object.assign(c.flow, { received: 0, decoded: 0 }), after: 1400, why: /^no frame was decoded for 1700 ms, though bytes came$/ },
  { name: "ICE is disconnected", set: (c) => (c.e.peer.ice = "disconnected"), after: 0, why: /^ICE disconnected$/ },
  { name: "ICE fails", set: (c) => (c.e.peer.ice = "failed"), after: 0, why: /^ICE failed$/, gone: true },
  { name: "the server ends it", set: (c) => (c.e.peer.ended = reason("shutdown")), after: 0, why: /the server is stopping/, gone: true },
  { name: "the server says that it cannot go on", set: (c) => (c.e.refusal = "reorder"), after: 0, why: /^reorder$/, off: true },
  { name: "the server ends it for good", set: (c) => (c.e.peer.ended = reason("refused", "not yours")), after: 0, why: /^not yours$/, off: true },
];

for (const { name, set, after, why, gone, off } of faults) {
  test(`the picture goes back to WebSocket media: ${name}`, () => {
    const c = shown();
    const from = c.now;
    set(c);
    const phase = off ? "off ws" : gone ? "waiting ws" : "failing ws rtc";
    assert.deepEqual(c.pass(after + 200), [[from + after, `${phase} -> webrtc`]], "asks for WebSocket media");
    c.e.ready = true;
    assert.deepEqual(c.pass(STEP), [[from + after + 200, `${off ? "off" : "waiting"} ws -> websocket`]], "shows it");
    assert.match(c.ladder.want.why, why);
    assert.equal(c.ladder.want.webrtc, false);
  });
}

test("a fault that heals before there is WebSocket media changes nothing", () => {
  const c = shown();
  c.flow = { received: 0, decoded: 0, bytes: false };
  assert.deepEqual(c.pass(1500).map((n) => n[1]), ["failing ws rtc -> webrtc"]);
  c.flow = { received: 25, decoded: 25, bytes: true };
  assert.deepEqual(c.pass(1000).map((n) => n[1]), ["shown rtc -> webrtc"]);
  assert.equal(c.ladder.want.attempt, 1);
});

test("silence is no fault while nobody publishes", () => {
  const c = shown();
  c.e.live = false;
  c.flow = { received: 0, decoded: 0, bytes: false };
  const from = c.now;
  assert.deepEqual(c.pass(60_000), [[from, "shown ws rtc -> webrtc"]], "the session is to tell when somebody does");
  c.e.live = true;
  assert.deepEqual(c.pass(600), [[from + 60_000, "shown rtc -> webrtc"]]);
});

test("what was not looked at is not silent: the timers of a page in the background are slow", () => {
  const c = shown();
  c.e.peer.at = c.now;
  assert.deepEqual(c.pass(5000), []);
  c.e.peer.at = c.now;
  c.pass(STEP);
  c.flow = { received: 0, decoded: 0, bytes: false };
  c.e.peer.at += 600;
  assert.deepEqual(c.pass(3000), []);
  c.e.peer.at += 100;
  assert.deepEqual(c.pass(STEP).map((n) => n[1]), ["failing ws rtc -> webrtc"]);
});

test("there must be a transport, and it must be known", () => {
  assert.throws(() => new Ladder({ transports: [] }), /"none": want webrtc, websocket/);
  assert.throws(() => new Ladder({ transports: ["quic"] }), /"quic"/);
});

test("a stream of few frames a second is given time for three of them, within bounds", () => {
  for (const [interval, after] of [[40, 700], [500, 1500], [2000, 2500]]) {
    const c = shown();
    c.e.interval = interval;
    c.flow = { received: 0, decoded: 0, bytes: false };
    const from = c.now - STEP; // of the last bytes
    assert.equal(c.pass(4000)[0][0] - from, after);
  }
});

test("after the way back WebRTC is tried again, and takes over once more", () => {
  const c = shown();
  c.e.peer.ice = "failed";
  c.e.ready = true;
  c.pass(100);
  c.e.ready = true;
  c.pass(STEP);
  assert.equal(c.ladder.want.show, "websocket");
  c.pass(2200);
  c.connect();
  assert.deepEqual(c.pass(2500).map((n) => n[1]), ["shown rtc -> webrtc"]);
  assert.equal(c.ladder.want.attempt, 2);
});

test("only WebRTC that held makes the back-off begin anew", () => {
  for (const [held, wait] of [[5000, 4000], [31_000, 2000]]) {
    const c = climb();
    c.answers = "";
    c.e.ready = true;
    c.pass(200);
    c.e.peer.ice = "failed";
    c.pass(100);
    c.pass(2300);
    c.connect();
    c.pass(2000 + held);
    assert.equal(c.ladder.want.show, "webrtc");
    c.e.peer.ice = "failed";
    const at = c.now;
    c.pass(STEP);
    assert.equal(c.ladder.next - at, wait);
  }
});

test("while there is no WebSocket media the last picture stays, and WebRTC may bring the next one", () => {
  const c = shown();
  c.e.peer.ice = "failed";
  assert.deepEqual(c.pass(2300).map((n) => n[1]), ["waiting ws -> webrtc", "asking ws -> webrtc", "trying ws rtc -> webrtc"]);
  c.connect();
  assert.deepEqual(c.pass(300).map((n) => n[1]), ["shown rtc -> webrtc"], "with its first frame: there is nothing to lose");
});

test("WebSocket media that comes while WebRTC is tried again shows the fault that led there", () => {
  const c = shown();
  c.e.peer.ice = "failed";
  c.pass(2300);
  c.e.ready = true;
  assert.deepEqual(c.pass(STEP).map((n) => n[1]), ["trying ws rtc -> websocket"]);
  assert.equal(c.ladder.want.why, "ICE failed");
});

test("ICE restarts: with another network, and while disconnected, but not all the time", () => {
  const c = shown();
  c.e.networks++;
  c.pass(STEP);
  assert.deepEqual([c.ladder.want.restarts, c.ladder.phase], [1, "shown"]);
  c.e.peer.ice = "disconnected";
  c.pass(4000);
  assert.equal(c.ladder.want.restarts, 1);
  c.pass(2000);
  assert.equal(c.ladder.want.restarts, 2);
});

test("pinned WebRTC waits for what heals, and is tried again when it does not", () => {
  const c = shown({ transports: ["webrtc"] });
  c.e.peer.ice = "disconnected";
  assert.deepEqual(c.pass(8000).map((n) => n[1]), ["failing rtc -> webrtc"]);
  c.e.peer.ice = "connected";
  assert.deepEqual(c.pass(300).map((n) => n[1]), ["shown rtc -> webrtc"]);
  c.e.peer.ice = "failed";
  assert.deepEqual(c.pass(2300).map((n) => n[1]), ["waiting -> webrtc", "asking -> webrtc", "trying rtc -> webrtc"]);
});

test("sound alone is judged by its bytes", () => {
  const c = climb();
  c.answers = "";
  c.e.ready = true;
  c.pass(200);
  c.e.peer.video = false;
  c.connect({ received: 0, decoded: 0, bytes: true });
  assert.deepEqual(c.pass(2500).map((n) => n[1]), ["shown rtc -> webrtc"]);
});

test("the two states of a browser make one", () => {
  const table = [
    ["new", "new", "new"], ["checking", "connecting", "checking"], ["connected", "connecting", "connected"], ["completed", "connected", "completed"],
    ["disconnected", "disconnected", "disconnected"], ["disconnected", "failed", "failed"], ["failed", "failed", "failed"], ["closed", "closed", "closed"],
    ["connected", "closed", "closed"], ["odd", "new", "new"],
  ];
  for (const [ice, connection, want] of table) assert.equal(iceState(ice, connection), want, `${ice} and ${connection}`);
});
