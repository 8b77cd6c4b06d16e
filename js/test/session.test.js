import { test } from "node:test";
import assert from "node:assert/strict";
import { Memory } from "../dial.js";
import { ReasonError, reason } from "../reasons.js";
import { Servers } from "../servers.js";
import { mergePatch } from "../protocol.js";
import { EPOCH, FakeWebSocket, setUp, snapshot, update } from "./fake.js";

const turn = () => new Promise((resolve) => setImmediate(resolve));
const words = (client) => client.log.filter((e) => e.kind === "state").map((e) => e.state);
const of = (ws, t) => ws.take().filter((m) => m.t === t);

/** A target of events in the place of the page's window, for as long as the test runs. */
function page(t, properties = {}) {
  const bus = new EventTarget();
  for (const name of ["addEventListener", "removeEventListener"]) globalThis[name] = bus[name].bind(bus);
  const before = Object.getOwnPropertyDescriptor(globalThis, "navigator");
  Object.defineProperty(globalThis, "navigator", { value: { onLine: true, ...properties }, configurable: true, writable: true });
  t.after(() => {
    delete globalThis.addEventListener;
    delete globalThis.removeEventListener;
    delete globalThis.navigator;
    if (before) Object.defineProperty(globalThis, "navigator", before);
  });
  return { say: (name) => bus.dispatchEvent(new Event(name)), navigator: globalThis.navigator };
}

test("the servers of a group are tried in a random order, group after group", () => {
  let n = 0;
  const servers = new Servers([["a"], ["b", "c", "d"], ["e"]], () => [0, 0.9][n++ % 2]);
  const round = () => Array.from({ length: 5 }, () => servers.next());
  const one = round(), two = round();
  assert.deepEqual([one[0], one[4], [...one].sort().join("")], ["a", "e", "abcde"]);
  assert.notDeepEqual(one.slice(1, 4), ["b", "c", "d"]);
  assert.deepEqual([...two].sort(), ["a", "b", "c", "d", "e"]);
  assert.equal(new Servers([["a"], ["b"]], Math.random).after("a"), "b", "not the same one again");
});

test("after a break the same server comes first, after a failed attempt the next", (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  FakeWebSocket.last.welcome().end();
  tick(500);
  FakeWebSocket.last.end();
  tick(1000);
  assert.deepEqual(FakeWebSocket.all.map((w) => w.url), ["ws://a/session", "ws://a/session", "ws://b/session"]);
});

test("credentials are asked for at each login, and before they end", async (t) => {
  const asked = [];
  const { client, tick } = setUp(t, { credentials: async ({ user, renewal }) => `${asked.push([user, renewal])}` });
  client.connect();
  FakeWebSocket.last.open();
  assert.equal(client.state, "retrieving_credentials");
  await turn();
  assert.equal(FakeWebSocket.last.sent[0].token, "1");
  FakeWebSocket.last.welcome({ user: "ann", at: 1000, expires: 61_000 });
  assert.equal(client.user, "ann");
  FakeWebSocket.last.take();
  for (const second of [false, true]) {
    for (let i = 0; i < 4; i++) {
      tick(12_000);
      FakeWebSocket.last.say({ t: "ping", id: 1 }); // it is not silent
    }
    await turn();
    const token = of(FakeWebSocket.last, "token").at(-1);
    assert.deepEqual(token, second ? { t: "token", id: 2, token: "3" } : { t: "token", id: 1, token: "2" });
    FakeWebSocket.last.say({ t: "result", id: token.id, at: 1000, expires: 61_000 });
  }
  assert.deepEqual(asked, [["", false], ["ann", true], ["ann", true]]);
  assert.equal(client.state, "logged_in");
});

test("a provider that fails is asked again, unless its reason is final", async (t) => {
  const errors = [new Error("no answer"), new ReasonError("sign in", reason("unauthorized", "signed out"))];
  const { client, tick } = setUp(t, {
    credentials: () => {
      throw errors.shift();
    },
  });
  const ready = client.connect();
  FakeWebSocket.last.open();
  await turn();
  assert.deepEqual([client.state, client.log.at(-1).reason.text, client.log.at(-1).delay], ["credentials_retrieval_failed", "credentials: no answer", 250]);
  tick(250);
  FakeWebSocket.last.open();
  await turn();
  assert.deepEqual(words(client).slice(-2), ["credentials_retrieval_failed", "disconnected"]);
  await assert.rejects(ready, (e) => e.reason.word === "unauthorized" && /signed out/.test(e.message));
});

test("a call has its result, its error, its timeout, or is called off", async (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  const ws = FakeWebSocket.last.welcome();
  ws.take();
  const stop = new AbortController();
  const bid = client.call("/bid", { lot: 7 }), bad = client.call("/bad"), slow = client.call("/slow", 1, { timeout: 300 });
  const off = client.call("/off", 2, { signal: stop.signal });
  await turn();
  assert.deepEqual(ws.take(), [
    { t: "call", id: 1, name: "/bid", data: { lot: 7 } }, { t: "call", id: 2, name: "/bad" },
    { t: "call", id: 3, name: "/slow", data: 1, timeout: 300 }, { t: "call", id: 4, name: "/off", data: 2 },
  ]);
  ws.say({ t: "result", id: 1, data: { ok: true } });
  ws.say({ t: "result", id: 2, reason: { code: 4010, word: "not_found", text: "no such thing", retry: true } });
  stop.abort(new Error("never mind"));
  tick(300);
  assert.deepEqual(await bid, { ok: true });
  await assert.rejects(bad, /call "\/bad": no such thing/);
  await assert.rejects(off, /never mind/);
  await assert.rejects(slow, (e) => e.reason.word === "timeout");
  assert.deepEqual(ws.take(), [{ t: "cancel", id: 4 }, { t: "cancel", id: 3 }]);
  await assert.rejects(client.call("/off", 2, { signal: stop.signal }), /never mind/);
});

test("a call fails with its connection, unless it is to be sent again", async (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  FakeWebSocket.last.welcome();
  const once = client.call("/a", 1), again = client.call("/b", 2, { resend: true });
  await turn();
  FakeWebSocket.last.end();
  await assert.rejects(once, (e) => e.reason.word === "lost");
  tick(500);
  const ws = FakeWebSocket.last.welcome({ resumed: true });
  assert.deepEqual(of(ws, "call"), [{ t: "call", id: 2, name: "/b", data: 2 }]);
  ws.say({ t: "result", id: 2, data: 4 });
  assert.equal(await again, 4);
});

test("no more than 4096 requests are on the way, and no more than maxPending wait", async (t) => {
  const { client } = setUp(t, { maxPending: 5000 });
  client.connect();
  const ws = FakeWebSocket.last.welcome();
  const all = Array.from({ length: 5000 }, (_, n) => client.publish("/log", n));
  await assert.rejects(client.publish("/log", 5000), (e) => e.reason.word === "limit");
  assert.equal(of(ws, "publish").length, 4096);
  for (let id = 1; id <= 4096; id++) ws.say({ t: "ack", id, path: "/log", epoch: EPOCH, offset: id });
  assert.deepEqual(of(ws, "publish").map((m) => m.data), Array.from({ length: 904 }, (_, n) => 4096 + n));
  for (let id = 4097; id <= 5000; id++) ws.say({ t: "ack", id, path: "/log", epoch: EPOCH, offset: id });
  assert.equal((await Promise.all(all)).at(-1).offset, 5000);
});

test("a pause holds what comes until it ends", (t) => {
  const { client } = setUp(t);
  assert.throws(() => client.pause(), (e) => e.reason.word === "bad_request");
  client.connect();
  const got = [];
  client.subscribe("/log", (m) => m.t === "update" && got.push(m.data));
  const ws = FakeWebSocket.last.welcome();
  ws.say(snapshot(0));
  client.pause();
  assert.deepEqual([client.state, client.light], ["paused", "amber"]);
  ws.say(update(0, "a"));
  assert.deepEqual(got, []);
  client.resume();
  assert.deepEqual([client.state, got], ["logged_in", ["a"]]);
  assert.deepEqual(ws.take().map((m) => m.t).filter((w) => w === "pause" || w === "resume"), ["pause", "resume"]);
});

test("a document, a window, a history and a rate", (t) => {
  const { client } = setUp(t);
  client.connect();
  const doc = client.subscribe("/doc");
  const window = { start: 0, count: 2, order: "-price" };
  const lots = client.subscribe("/lots", null, { window });
  client.subscribe("/chat", null, { count: 50, age: 60_000 });
  const rated = client.subscribe("/fx", null, { rate: 2, fields: ["bid"] });
  const ws = FakeWebSocket.last.welcome();
  assert.deepEqual(of(ws, "hello")[0].subscribe, [
    { path: "/doc", from: "snapshot" }, { path: "/lots", from: "snapshot", window },
    { path: "/chat", from: "history", count: 50, age: 60_000 }, { path: "/fx", from: "snapshot", rate: 2, fields: ["bid"] },
  ]);
  const json = { path: "/doc", epoch: EPOCH, kind: "json" };
  ws.say({ t: "snapshot", ...json, offset: 1, data: { a: 1, b: { c: 2 } } });
  ws.say({ t: "update", ...json, offset: 1, at: 1, patch: { a: null, b: { d: 3 } } });
  assert.deepEqual([doc.document, doc.kind, doc.offset], [{ b: { c: 2, d: 3 } }, "json", 2]);
  ws.say({ t: "update", ...json, offset: 2, at: 1, data: [1] });
  assert.deepEqual(doc.document, [1]);
  ws.say({ t: "window", path: "/lots", epoch: EPOCH, offset: 3, total: 9, start: 0, rows: [["x", { price: 3 }], ["y", { price: 2 }]] });
  assert.deepEqual([lots.total, lots.start, lots.rows], [9, 0, [["x", { price: 3 }], ["y", { price: 2 }]]]);
  rated.throttle(0.5);
  rated.throttle(null);
  assert.deepEqual(ws.take().slice(-2), [{ t: "throttle", path: "/fx", rate: 0.5 }, { t: "throttle", path: "/fx", rate: null }]);
  assert.throws(() => client.subscribe("/fx", null, { rate: 3 }), (e) => e.reason.word === "bad_request");
  assert.doesNotThrow(() => client.subscribe("/fx"));
});

test("merge patches (RFC 7396, appendix A)", () => {
  const cases = [
    [{ a: "b" }, { a: "c" }, { a: "c" }], [{ a: "b" }, { b: "c" }, { a: "b", b: "c" }], [{ a: "b" }, { a: null }, {}], [{ a: "b", b: "c" }, { a: null }, { b: "c" }],
    [{ a: ["b"] }, { a: "c" }, { a: "c" }], [{ a: "c" }, { a: ["b"] }, { a: ["b"] }], [{ a: { b: "c" } }, { a: { b: "d", c: null } }, { a: { b: "d" } }],
    [{ a: [{ b: "c" }] }, { a: [1] }, { a: [1] }], [["a", "b"], ["c", "d"], ["c", "d"]], [{ a: "b" }, ["c"], ["c"]], [{ a: "foo" }, null, null], [{ a: "foo" }, "bar", "bar"],
    [{ e: null }, { a: 1 }, { e: null, a: 1 }], [[1, 2], { a: "b", c: null }, { a: "b" }], [{}, { a: { bb: { ccc: null } } }, { a: { bb: {} } }],
  ];
  for (const [document, patch, want] of cases) assert.deepEqual(mergePatch(document, patch), want);
  assert.deepEqual(Object.keys(mergePatch({}, JSON.parse('{"__proto__":{"x":1}}'))), ["__proto__"]);
});

test("a source is told what is wanted below its path, again after a reconnect", (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  const told = [];
  const source = client.source("/fx", { required: false, priority: 2, onwanted: (path, on) => told.push([path, on]) });
  assert.throws(() => client.source("/fx"), (e) => e.reason.word === "bad_request");
  const ws = FakeWebSocket.last.welcome();
  assert.deepEqual(of(ws, "source"), [{ t: "source", path: "/fx", on: true, required: false, priority: 2 }]);
  for (const m of [["/fx/EURUSD", true], ["/fxx", true], ["/fx", true], ["/fx", false]]) ws.say({ t: "wanted", path: m[0], on: m[1] });
  assert.deepEqual([told, [...source.wanted]], [[["/fx/EURUSD", true], ["/fx", true], ["/fx", false]], ["/fx/EURUSD"]]);
  ws.end();
  tick(500);
  const second = FakeWebSocket.last.welcome();
  assert.equal(of(second, "source").length, 1);
  source.close();
  assert.deepEqual(second.take(), [{ t: "source", path: "/fx", on: false }]);
});

test("a drain moves the session to another server without a break", async (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  const got = [];
  client.subscribe("/log", (m) => m.t === "update" && got.push(m.data));
  const old = FakeWebSocket.last.welcome();
  old.say(snapshot(0));
  old.say(update(0, 0));
  old.say({ t: "drain", within: 2000, reason: reason("shutdown") });
  tick(900);
  assert.equal(FakeWebSocket.all.length, 1, "at a random moment");
  tick(200);
  const next = FakeWebSocket.last;
  assert.equal(next.url, "ws://b/session");
  next.open();
  await turn();
  assert.deepEqual(next.take()[0].subscribe, [{ path: "/log", from: "offset", epoch: EPOCH, offset: 1 }]);
  old.say(update(1, 1)); // still on the old one
  next.onmessage({ data: JSON.stringify({ t: "welcome", version: 1, session: "s-1", heartbeat: 0, resumed: true, at: 1 }) });
  assert.equal(old.closed.code, 1000);
  for (const n of [1, 2]) next.say(n === 1 ? snapshot(1) : update(1, 1));
  next.say(update(2, 2));
  assert.deepEqual(got, [0, 1, 2]);
  assert.deepEqual([client.server, words(client)], ["ws://b/session", ["connecting", "connected", "logged_in"]]);
  assert.deepEqual(client.log.filter((e) => e.kind !== "state").map((e) => [e.kind, e.from]), [["drain", undefined], ["moved", "ws://a/session"]]);
});

test("a move that the server does not take leaves the session where it is", async (t) => {
  const { client, tick } = setUp(t);
  client.connect();
  const old = FakeWebSocket.last.welcome({ heartbeat: 0 });
  old.say({ t: "drain", within: 0, reason: reason("shutdown") });
  tick(50);
  FakeWebSocket.last.open();
  await turn();
  FakeWebSocket.last.say({ t: "error", reason: reason("limit") });
  await turn();
  assert.deepEqual([client.state, client.server], ["logged_in", "ws://a/session"]);
  old.end();
  tick(500);
  assert.equal(FakeWebSocket.last.url, "ws://b/session", "the next attempt goes elsewhere");
});

test("without a network the client is unreachable, and tries at once when there is one again", (t) => {
  const { say, navigator } = page(t);
  const { client, tick } = setUp(t);
  client.connect();
  FakeWebSocket.last.welcome();
  navigator.onLine = false;
  say("offline");
  assert.deepEqual([client.state, client.light], ["unreachable", "amber"]);
  tick(30_000);
  FakeWebSocket.last.end();
  assert.equal(client.state, "unreachable", "an attempt without a network");
  const attempts = FakeWebSocket.all.length;
  navigator.onLine = true;
  say("online");
  assert.equal(FakeWebSocket.all.length, attempts + 1);
  assert.equal(FakeWebSocket.last.url, "ws://a/session", "where the session was");
  client.disconnect();
  say("offline");
  assert.equal(client.state, "disconnected");
});

test("a server on this machine needs no network", (t) => {
  const { say, navigator } = page(t);
  const { client } = setUp(t, { servers: "ws://127.0.0.1:8080/session" });
  client.connect();
  FakeWebSocket.last.welcome();
  navigator.onLine = false;
  say("offline");
  assert.equal(client.state, "logged_in");
});

test("observers get every change in order: a quick one, a slow one, a late one, and one that makes changes", async (t) => {
  const { client, tick } = setUp(t);
  const quick = [], late = [], busy = [], slow = [];
  client.observe((e) => quick.push(e.state));
  client.observe((e) => {
    if (e.state === "logged_in" && !busy.includes("paused")) client.pause();
    busy.push(e.state);
    if (e.state === "paused") client.resume();
  });
  const loop = (async () => {
    for await (const e of client.states()) {
      slow.push(e.state);
      await turn();
    }
  })();
  client.connect();
  FakeWebSocket.last.welcome().end();
  tick(500);
  FakeWebSocket.last.welcome({ resumed: true });
  client.disconnect();
  client.observe((e) => late.push(e.state));
  const want = ["connecting", "connected", "logged_in", "paused", "logged_in", "lost", "connecting", "connected", "reconnected", "logged_in", "disconnected"];
  for (let i = 0; i < 30; i++) await turn();
  for (const seen of [quick, late, busy, slow]) assert.deepEqual(seen, want);
  client.connect();
  assert.equal(late.at(-1), "connecting");
  void loop;
});

test("a state can be awaited", async (t) => {
  const { client } = setUp(t);
  await assert.rejects(client.until("logged_in"), (e) => e.reason.word === "lost");
  await client.until("disconnected");
  client.connect();
  const stop = new AbortController();
  const loggedIn = client.until("logged_in"), reconnected = client.until("reconnected", { signal: stop.signal }), paused = client.until("paused");
  FakeWebSocket.last.welcome();
  await loggedIn;
  await client.until("logged_in");
  stop.abort(new Error("enough"));
  await assert.rejects(reconnected, /enough/);
  FakeWebSocket.last.say({ t: "ejected", reason: reason("ejected", "an operator") });
  await assert.rejects(paused, (e) => e.reason.word === "ejected");
});

test("slow timers of a page in the background do not end a session that has messages to be read", (t) => {
  const { client } = setUp(t);
  client.connect();
  const ws = FakeWebSocket.last.welcome({ heartbeat: 1000 });
  let now = performance.now();
  t.mock.method(performance, "now", () => now);
  for (let minute = 0; minute < 4; minute++) {
    now += 60_000; // nothing ran for a minute; then a timer comes before the messages do
    t.mock.timers.tick(500);
    assert.equal(client.state, "logged_in");
    ws.take();
    ws.say({ t: "ping", id: 1 + minute });
    assert.deepEqual(ws.take().map((m) => m.t), ["pong"]);
  }
  for (let i = 0; i < 6; i++) t.mock.timers.tick(500);
  assert.equal(client.log.findLast((e) => e.state === "lost").reason.word, "timeout", "but silence does");
});

test("a message runs what a slow timer is late with", async (t) => {
  const { client } = setUp(t, { credentials: () => "t" });
  client.connect();
  FakeWebSocket.last.open();
  await turn();
  const ws = FakeWebSocket.last.welcome({ heartbeat: 0, at: 1000, expires: 31_000 });
  let now = performance.now();
  t.mock.method(performance, "now", () => now);
  now += 25_000;
  ws.take();
  ws.say({ t: "ping", id: 1 });
  await turn();
  assert.deepEqual(ws.take().map((m) => m.t), ["pong", "token"]);
});

test("what worked with a server is tried first for ten minutes, by other clients of the origin too", (t) => {
  const stored = {};
  globalThis.localStorage = { getItem: (k) => stored[k] ?? null, setItem: (k, v) => (stored[k] = v) };
  t.after(() => delete globalThis.localStorage);
  t.mock.timers.enable({ apis: ["Date"], now: 1e12 });
  const all = ["websocket", "events", "poll"], memory = new Memory();
  assert.deepEqual(memory.order("ws://a/session", all), all);
  memory.worked("ws://a/session", "events");
  for (const m of [memory, new Memory()]) {
    assert.deepEqual(m.order("ws://a/other", all), ["events", "websocket", "poll"]);
    assert.deepEqual(m.order("ws://b/session", all), all);
    assert.deepEqual(m.order("ws://a/session", ["websocket"]), ["websocket"]);
  }
  t.mock.timers.tick(601_000);
  assert.deepEqual(memory.order("ws://a/session", all), all);
  stored["hawser.transports"] = "nonsense";
  assert.deepEqual(new Memory().order("ws://a/session", all), all);
});

/** A client whose attempts over plain HTTP are counted and never answered. */
function beside(t) {
  const http = [];
  const fetch = (url) => {
    http.push(new URL(url).pathname);
    return new Promise(() => {});
  };
  const all = setUp(t, { servers: ["ws://a/session"], transports: ["websocket", "events"], fetch });
  all.client.connect();
  return { ...all, http, said: () => all.client.log.filter((e) => e.kind === "transport").map((e) => [e.from, e.transport, e.reason.word]) };
}

test("a transport that breaks soon three times in a row comes last", (t) => {
  const { tick, http, said } = beside(t);
  for (let i = 1; i <= 3; i++) {
    assert.deepEqual([FakeWebSocket.all.length, http, said()], [i, [], []]);
    FakeWebSocket.last.welcome().end();
    tick(1500);
  }
  assert.deepEqual([FakeWebSocket.all.length, http], [3, ["/session/events"]]);
  assert.deepEqual(said(), [["websocket", "events", "lost"]]);
  tick(3000);
  assert.equal(FakeWebSocket.all.length, 4); // it is still tried, after the other
});

test("a transport that begins and then lets nothing through comes last", (t) => {
  const { tick, http, said } = beside(t);
  FakeWebSocket.last.open();
  tick(10_500);
  assert.deepEqual([http[0], said()], ["/session/events", [["websocket", "events", "timeout"]]]);
});

test("a transport that stood for a while, or that the server closes, stays", (t) => {
  const { tick, http, said } = beside(t);
  for (let i = 0; i < 4; i++) {
    FakeWebSocket.last.welcome();
    tick(11_000);
    FakeWebSocket.last.end();
    tick(2500);
  }
  for (let i = 0; i < 3; i++) {
    FakeWebSocket.last.welcome().end(4001, "shutdown");
    tick(2500);
  }
  assert.deepEqual([FakeWebSocket.all.length, http, said()], [8, [], []]);
});
