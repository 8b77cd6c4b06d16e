import { test } from "node:test";
import assert from "node:assert/strict";
import { Client } from "../client.js";
import { Joiner, MAX_JOINED, MAX_PIECE, pieces } from "../framing.js";
import { FakeWebSocket } from "./fake.js";
import { FakePeerConnection, fakeRTC, turn } from "./rtc.js";

const bytes = (...list) => Uint8Array.from(list);
const letters = (n, letter = "x") => letter.repeat(n);

test("a text that fits is a text message, another one goes in parts", () => {
  for (const text of ["", "{}", letters(MAX_PIECE), letters(MAX_PIECE / 2, "é")]) assert.deepEqual([...pieces(text)], [text]);
  for (const [text, parts] of [[letters(MAX_PIECE + 1), 2], [letters(MAX_PIECE, "é"), 3], [letters(100_000, "€"), 19]]) {
    const list = [...pieces(text)];
    assert.equal(list.length, parts);
    assert.ok(list.every((p) => p.length <= MAX_PIECE));
    assert.deepEqual(list.map((p) => p[0]), [...Array(parts - 1).fill(3), 4]);
    const joiner = new Joiner();
    assert.deepEqual(list.map((p) => joiner.push(p.buffer)), [...Array(parts - 1).fill(undefined), text]);
  }
});

// What a peer sends, and what comes of it.
const received = [
  { name: "a text", list: ["{}"], want: ["{}"] },
  { name: "binary in one", list: [bytes(0, 1, 2)], want: [bytes(1, 2)] },
  { name: "binary in parts, and one more", list: [bytes(1, 1), bytes(1, 2), bytes(2, 3), bytes(0, 4)], want: [bytes(1, 2, 3), bytes(4)] },
  { name: "a text in parts, cut within a letter", list: [bytes(3, 0xc3), bytes(4, 0xa9)], want: ["é"] },
  { name: "one last part", list: [bytes(2), bytes(4)], want: [bytes(), ""] },
  { name: "nothing", list: [bytes(), bytes(0, 1)], want: [bytes(1)] },
  { name: "an unknown kind", list: [bytes(6, 1), bytes(0, 1)], want: [bytes(1)] },
  { name: "a text within parts", list: [bytes(1, 1), "{}"], fault: /within the parts/ },
  { name: "mixed parts", list: [bytes(1, 1), bytes(4, 1)], fault: /mixed/ },
  { name: "no UTF-8", list: [bytes(4, 0xff)], fault: /not UTF-8/ },
];

for (const { name, list, want, fault } of received) {
  test(`put together: ${name}`, () => {
    const joiner = new Joiner();
    const all = () => list.map((m) => joiner.push(typeof m === "string" ? m : m.buffer)).filter((m) => m !== undefined);
    if (fault) assert.throws(all, fault);
    else assert.deepEqual(all(), want);
  });
}

test("a message that never ends is not put together for ever", () => {
  const joiner = new Joiner(), part = new Uint8Array(1 << 20);
  part[0] = 1;
  assert.throws(() => {
    for (let i = 0; i <= MAX_JOINED >> 20; i++) joiner.push(part.buffer);
  }, /more than 33554432 bytes/);
});

/** A client whose first transport is a data channel, and the answers of its server to POSTs. */
function setUpChannel(t, options = {}) {
  fakeRTC(t);
  FakeWebSocket.all = [];
  const posts = [];
  const fetch = async (url, init) => {
    posts.push([url, init.method, init.headers["Content-Type"], init.body]);
    return options.answer?.() ?? new Response("answer", { status: 201 });
  };
  const client = new Client({ servers: "wss://a/session?x=1", transports: ["webrtc", "websocket"], WebSocket: FakeWebSocket, fetch, heartbeat: 0, ...options.client });
  t.after(() => client.disconnect());
  client.connect().catch(() => {});
  return { client, posts, pc: FakePeerConnection.last, channel: FakePeerConnection.last.channels[0] };
}

const WELCOME = JSON.stringify({ t: "welcome", version: 1, session: "s-1", heartbeat: 0, resumed: false, at: 1 });

async function welcomed(t, options) {
  const c = setUpChannel(t, options);
  await turn();
  c.pc.gathered();
  await turn();
  await turn();
  c.channel.open();
  c.channel.say(WELCOME);
  return c;
}

test("a session over a data channel", async (t) => {
  const { client, posts, pc, channel } = await welcomed(t);
  assert.deepEqual(posts, [["https://a/session/rtc", "POST", "application/sdp", "offer 1"]]);
  assert.deepEqual([pc.remoteDescription.sdp, channel.label, channel.options, channel.binaryType], ["answer", "hawser.v1", { ordered: true }, "arraybuffer"]);
  assert.deepEqual([client.state, client.transport, JSON.parse(channel.sent[0]).t], ["logged_in", "webrtc", "hello"]);
  const got = [];
  client.subscribe("/log", (m) => got.push(m.t));
  channel.say(JSON.stringify({ t: "snapshot", path: "/log", kind: "log", epoch: "00000000000000b2", offset: 0 }));
  assert.deepEqual(got, ["snapshot"]);
  client.disconnect();
  assert.ok(channel.closed);
  assert.equal(JSON.parse(channel.sent.at(-1)).t, "bye");
});

test("much that is to be sent waits until the channel has room", async (t) => {
  const { client, channel } = await welcomed(t);
  channel.bufferedAmount = 2 << 20;
  const n = channel.sent.length;
  client.publish("/log", letters(40_000)).catch(() => {});
  assert.equal(channel.sent.length, n);
  channel.drain();
  assert.deepEqual(channel.sent.slice(n).map((p) => p[0]), [3, 3, 4]);
});

test("a channel that ends, or whose connection fails, is lost", async (t) => {
  for (const end of [(c) => c.channel.end(), (c) => (c.pc.connection("failed"), c.pc), (c) => c.channel.say(bytes(4, 0xff).buffer)]) {
    const c = await welcomed(t);
    end(c);
    assert.equal(c.client.state, "lost");
    c.client.disconnect();
  }
});

test("a server that closes says why", async (t) => {
  const c = await welcomed(t);
  const changes = [];
  c.client.onstate = (e) => changes.push([e.state, e.reason?.word]);
  c.channel.say(bytes(5, ...new TextEncoder().encode("4001 shutdown")).buffer);
  assert.deepEqual(changes[0], ["lost", "shutdown"]);
  assert.ok(c.channel.closed);
});

test("a server without it, and one that cannot be reached by it, is connected by the next transport", async (t) => {
  const refused = () => Response.json({ error: { code: 4014, word: "unsupported", text: "no WebRTC here" } }, { status: 503 });
  const failing = () => {
    throw new TypeError("network");
  };
  for (const answer of [refused, failing]) {
    const { client, pc } = setUpChannel(t, { answer });
    pc.gathered();
    for (let i = 0; i < 5; i++) await turn();
    assert.equal(FakeWebSocket.all.length, 1);
    FakeWebSocket.last.welcome();
    assert.deepEqual([client.state, client.transport, pc.closed], ["logged_in", "websocket", true]);
    client.disconnect();
  }
});

test("it is not there without a browser's WebRTC, and not used unless asked for", () => {
  assert.throws(() => new Client({ servers: "ws://a/session", transports: ["webrtc"], fetch }), /no WebSocket and no fetch/);
  assert.throws(() => new Client({ servers: "ws://a/session", transports: ["quic"] }), /want websocket, events, poll, webrtc/);
});
