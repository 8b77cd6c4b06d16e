import { test } from "node:test";
import assert from "node:assert/strict";
import { Client } from "../client.js";
import { Queue } from "../subscription.js";
import { encodeMedia } from "../protocol.js";
import { EPOCH, FakeWebSocket, setUp, snapshot, update } from "./fake.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));
const words = (client) => client.log.filter((e) => e.kind === "state").map((e) => e.state);

test("connects, logs in, and leaves", async (t) => {
  const { client } = setUp(t, { token: "secret" });
  const seen = [];
  client.onstate = (e) => seen.push([e.from, e.state, e.light, e.attempt]);
  const ready = client.connect();
  const ws = FakeWebSocket.last;
  assert.deepEqual([ws.url, ws.protocol, ws.binaryType], ["ws://a/session", "hawser.v1", "arraybuffer"]);
  ws.welcome();
  await ready;
  assert.deepEqual(ws.take().map((m) => m.t), ["hello", "ping"]);
  client.disconnect();
  assert.deepEqual(ws.take(), [{ t: "bye" }]);
  assert.deepEqual(ws.closed, { code: 4000, word: "done" });
  assert.deepEqual(seen, [
    ["disconnected", "connecting", "amber", 1],
    ["connecting", "connected", "amber", 1],
    ["connected", "logged_in", "green", 1],
    ["logged_in", "disconnected", "red", 0],
  ]);
});

test("a refused login is final and says why", async (t) => {
  const { client, tick } = setUp(t);
  const ready = client.connect();
  FakeWebSocket.last.open();
  FakeWebSocket.last.say({ t: "error", reason: { code: 4008, word: "unauthorized", text: "the token has expired" } });
  await assert.rejects(ready, (e) => e.reason.word === "unauthorized" && /expired/.test(e.message));
  tick(120_000);
  assert.deepEqual(words(client), ["connecting", "connected", "login_failed", "disconnected"]);
  assert.equal(FakeWebSocket.all.length, 1);
});

test("attempts go round the servers under full-jitter back-off, which a stable session resets", (t) => {
  const { client, tick } = setUp(t, { backoffMin: 1000, backoffMax: 4000 });
  client.connect();
  const delays = [];
  for (let i = 0; i < 4; i++) {
    FakeWebSocket.last.end();
    delays.push(client.log.at(-1).delay);
    tick(delays.at(-1));
  }
  assert.deepEqual(delays, [500, 1000, 2000, 2000]);
  assert.deepEqual(FakeWebSocket.all.map((w) => w.url.slice(5, 6)), ["a", "b", "a", "b", "a"]);
  assert.equal(client.attempt, 5);
  FakeWebSocket.last.welcome({ heartbeat: 0 });
  tick(10_000);
  FakeWebSocket.last.end();
  assert.deepEqual([client.state, client.log.at(-1).delay, client.log.at(-1).reason.word], ["lost", 500, "lost"]);
});

test("an attempt that gets no answer is given up", (t) => {
  const { client, tick } = setUp(t, { connectTimeout: 3000, loginTimeout: 3000 });
  client.connect();
  tick(3000);
  assert.deepEqual([client.state, client.log.at(-1).reason.word], ["failed", "timeout"]);
  tick(500);
  FakeWebSocket.last.open();
  tick(3000);
  assert.deepEqual([client.state, client.log.at(-1).reason.word], ["lost", "timeout"]);
  assert.equal(FakeWebSocket.last.closed.word, "timeout");
});

test("pings at the heartbeat, measures, and gives up after silence", (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  const ws = FakeWebSocket.last.welcome({ heartbeat: 1000 });
  ws.take();
  tick(40);
  ws.say({ t: "pong", id: 1, at: Date.now() + 5000 });
  assert.equal(client.rtt, 40);
  assert.ok(Math.abs(client.clockOffset - 5020) < 100, `${client.clockOffset}`);
  tick(1000);
  assert.deepEqual(ws.take(), [{ t: "ping", id: 2 }]);
  ws.say({ t: "ping", id: 7, at: 1 });
  assert.deepEqual(ws.take(), [{ t: "pong", id: 7 }]);
  tick(2400);
  assert.equal(client.state, "logged_in");
  tick(600);
  assert.deepEqual([client.state, ws.closed.word], ["lost", "timeout"]);
});

test("a doubt has the server asked at once, and given up after 3 s", (t) => {
  const { client, tick } = setUp(t);
  client.check();
  client.connect();
  const ws = FakeWebSocket.last.welcome({ heartbeat: 10_000 });
  ws.take();
  tick(100);
  client.check();
  client.check();
  assert.deepEqual(ws.take(), [{ t: "ping", id: 2 }]);
  ws.say({ t: "pong", id: 2, at: Date.now() });
  tick(2900);
  client.check();
  assert.deepEqual(ws.take(), [], "not asked again so soon");
  tick(100);
  client.check();
  assert.deepEqual(ws.take(), [{ t: "ping", id: 3 }]);
  tick(2900);
  assert.equal(client.state, "logged_in");
  tick(100);
  assert.deepEqual([client.state, client.log.findLast((e) => e.state === "lost").reason.word, ws.closed.word], ["lost", "timeout", "timeout"]);
});

test("a reconnect goes on where it stood: nothing doubled, what is lost is told", (t) => {
  const { client, tick } = setUp(t);
  const got = [];
  client.subscribe("/log", (m) => got.push(m.t === "update" ? m.data : m.t === "gap" ? [m.from, m.to] : m.t));
  client.connect();
  const first = FakeWebSocket.last.welcome();
  assert.deepEqual(asked(first), { path: "/log", from: "snapshot" });
  first.say(snapshot(3));
  for (const n of [3, 4, 4]) first.say(update(n, n));
  first.end();
  first.say(update(5, "from a connection that is gone"));
  tick(30_000);
  const second = FakeWebSocket.last.welcome();
  assert.deepEqual(asked(second), { path: "/log", from: "offset", epoch: EPOCH, offset: 5 });
  second.say(snapshot(7));
  for (const n of [7, 8]) second.say(update(n, n));
  assert.deepEqual(got, ["snapshot", 3, 4, [5, 7], "snapshot", 7, 8]);
  assert.match(client.log.at(-1).detail, /^2 updates lost/);
});

test("a record's image is kept, and later subscriptions to the path start with it", async (t) => {
  const { client } = setUp(t);
  const record = (t, offset, fields) => ({ t, path: "/fx", kind: "record", epoch: EPOCH, offset, at: 1, fields });
  client.connect();
  const one = client.subscribe("/fx");
  const ws = FakeWebSocket.last.welcome();
  ws.say(record("snapshot", 1, { bid: 1, ask: 2, venue: "X" }));
  ws.say(record("update", 4, { ask: 3, venue: null }));
  assert.deepEqual([one.fields, one.kind, one.offset, one.epoch], [{ bid: 1, ask: 3 }, "record", 5, EPOCH]);

  ws.take();
  const got = [];
  const two = client.subscribe("/fx", (m) => got.push([m.t, m.fields]));
  await turn();
  assert.deepEqual(got, [["snapshot", { bid: 1, ask: 3 }]]);
  one.close();
  assert.deepEqual(ws.take(), [], "the line's subscription is shared");
  ws.say(record("update", 5, { bid: 7 }));
  assert.deepEqual(two.fields, { bid: 7, ask: 3 });
  assert.equal(got.length, 2);
  two.close();
  assert.deepEqual(ws.take(), [{ t: "unsubscribe", path: "/fx" }]);
});

test("a refused subscription ends and says why", async (t) => {
  const { client } = setUp(t);
  client.connect();
  const s = client.subscribe("/log");
  const all = collect(s);
  FakeWebSocket.last.welcome().say({ t: "status", path: "/log", status: "refused", reason: { code: 4007, word: "refused", text: "not yours" } });
  assert.deepEqual((await all).map((m) => [m.t, m.status, m.reason.text]), [["status", "refused", "not yours"]]);
  assert.ok(s.ended);
  assert.doesNotThrow(() => client.subscribe("/log"), "it may be tried again");
});

test("iterators get every message in order and end with the client", async (t) => {
  const { client } = setUp(t);
  client.connect();
  const all = collect(client.subscribe("/log"));
  const ws = FakeWebSocket.last.welcome();
  ws.say(snapshot(0));
  for (let n = 0; n < 3000; n++) ws.say(update(n, n));
  client.disconnect();
  const updates = (await all).filter((m) => m.t === "update");
  assert.deepEqual(updates.map((m) => m.data), Array.from({ length: 3000 }, (_, n) => n));
});

test("publish waits for the login, survives breaks, and is settled by the server's word or the end", async (t) => {
  const { client, tick } = setUp(t);
  await assert.rejects(client.publish("/log", 1), (e) => e.reason.word === "lost");
  await assert.rejects(client.publish("log", 1), (e) => e.reason.word === "bad_request");
  client.connect();
  await assert.rejects(client.publish("/log", "x".repeat(1 << 20)), (e) => e.reason.word === "too_big");
  await assert.rejects(client.publish("/log", 1n), (e) => e.reason.word === "bad_request");
  const acked = client.publish("/log", { text: "hi" }, { time: 40.5, ttl: 500 });
  const refused = client.publish("/fx", { bid: 1, ask: null }, { kind: "record" });
  const again = client.publish("/doc", { a: null }, { patch: true });
  const ws = FakeWebSocket.last.welcome();
  assert.match(ws.sent[0].publisher, /^[\w-]{26}$/);
  const sent = [
    { t: "publish", id: 1, path: "/log", kind: "log", data: { text: "hi" }, time: 40.5, ttl: 500 },
    { t: "publish", id: 2, path: "/fx", kind: "record", fields: { bid: 1, ask: null } },
    { t: "publish", id: 3, path: "/doc", kind: "json", patch: { a: null } },
  ];
  assert.deepEqual(published(ws), sent);
  ws.say({ t: "error", id: 2, path: "/fx", reason: { code: 4007, word: "refused", text: "not yours" } });
  ws.say({ t: "ack", id: 1, path: "/log", epoch: EPOCH, offset: 9 });
  assert.equal((await acked).offset, 9);
  await assert.rejects(refused, /publish "\/fx": not yours/);
  ws.end();
  const last = client.publish("/log", null);
  tick(500);
  const second = FakeWebSocket.last.welcome();
  assert.deepEqual(published(second), [sent[2], { t: "publish", id: 4, path: "/log", kind: "log", data: null }]);
  second.say({ t: "ack", id: 3, path: "/doc", epoch: EPOCH, offset: 2 });
  assert.equal((await again).offset, 2);
  client.disconnect();
  await assert.rejects(last, (e) => e.reason.word === "lost");
});

test("media comes in order, and a stream that is gone ends the play", async (t) => {
  const { client } = setUp(t);
  client.connect();
  const all = collect(client.play("/cam"));
  const ws = FakeWebSocket.last.welcome();
  const media = { path: "/cam", epoch: EPOCH, offset: 1, dts: 0, kind: "all", init: true, key: false, discontinuity: false, data: new Uint8Array([1]) };
  ws.say(encodeMedia(media));
  ws.say({ t: "media", path: "/cam", epoch: EPOCH, offset: 1, status: "live" });
  ws.say(encodeMedia(media));
  ws.say(encodeMedia({ ...media, init: false, key: true, kind: "video", offset: 1 }));
  ws.say({ t: "media", path: "/cam", epoch: EPOCH, offset: 2, status: "gone", reason: { code: 4011, word: "gone", text: "over" } });
  assert.deepEqual((await all).map((m) => [m.t, m.status ?? m.kind]), [["media", "live"], ["fragment", "all"], ["fragment", "video"], ["media", "gone"]]);
  assert.equal(client.log.at(-1).detail, "gone");
});

test("an ejected client makes no further attempt", (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  FakeWebSocket.last.welcome().say({ t: "ejected", reason: { code: 4012, word: "ejected", text: "an operator" } });
  tick(120_000);
  assert.deepEqual(words(client).slice(-2), ["ejected", "disconnected"]);
  assert.equal(FakeWebSocket.all.length, 1);
  client.connect();
  assert.equal(FakeWebSocket.all.length, 2, "but may be told to connect again");
});

test("a server that breaks the protocol is left, and tried again later", (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  const ws = FakeWebSocket.last.welcome();
  ws.onmessage({ data: "{" });
  assert.deepEqual([client.state, ws.closed.word, client.log.at(-1).reason.word], ["lost", "protocol", "protocol"]);
  tick(500);
  assert.equal(FakeWebSocket.all.length, 2);
});

test("an exception in a callback disturbs nothing else", (t) => {
  const { client } = setUp(t);
  let report;
  t.mock.method(globalThis, "queueMicrotask", (f) => (report = f));
  client.subscribe("/log", () => {
    throw new Error("mine");
  });
  const got = [];
  client.subscribe("/log", (m) => got.push(m.t));
  client.connect();
  FakeWebSocket.last.welcome().say(snapshot(0));
  assert.throws(report, /mine/);
  assert.deepEqual(got, ["snapshot"]);
  assert.equal(client.state, "logged_in");
});

test("callbacks may ask for more", (t) => {
  const { client } = setUp(t);
  client.onstate = (e) => e.state === "logged_in" && client.subscribe("/log", (m) => m.t === "snapshot" && client.disconnect());
  client.connect();
  const ws = FakeWebSocket.last.welcome();
  ws.say(snapshot(0));
  assert.deepEqual(ws.take().map((m) => m.t), ["hello", "ping", "subscribe", "bye"]);
});

test("states and events begin with the past", async (t) => {
  const { client } = setUp(t);
  client.connect();
  const states = client.states(), events = client.events();
  FakeWebSocket.last.welcome();
  assert.equal((await states.next()).value.state, "connecting");
  assert.equal((await states.next()).value.state, "connected");
  assert.equal((await events.next()).value.seq, 0);
  await states.return();
  assert.ok((await states.next()).done);
});

test("a loop that falls behind is told how much it missed", async () => {
  const queue = new Queue(undefined, 3);
  for (let n = 0; n < 10; n++) queue.push(n);
  queue.end();
  assert.deepEqual(await collect(queue), [{ t: "missed", missed: 7 }, 7, 8, 9]);
});

test("bad options are refused", () => {
  assert.throws(() => new Client({ servers: ["http://a"], WebSocket: FakeWebSocket }), /ws:\/\/ or wss:\/\//);
  assert.throws(() => new Client({ WebSocket: FakeWebSocket }), /servers/);
});

function published(ws) {
  return ws.take().filter((m) => m.t === "publish");
}

function asked(ws) {
  return ws.take().find((m) => m.t === "hello").subscribe?.[0];
}

async function collect(iterable) {
  const all = [];
  for await (const m of iterable) all.push(m);
  return all;
}
