import { test } from "node:test";
import assert from "node:assert/strict";
import { dial, Memory } from "../dial.js";
import { EventParser } from "../plain.js";

const STREAM = ": open\n\ndata: {\"t\":\"a\"}\n\nevent: binary\r\ndata: AQI=\r\n\r\ndata:one\ndata: two\n\nevent\ndata\n\nid: 7\n\nevent: close\ndata: 4001 shutdown\n\ndata: cut";
const EVENTS = [["", '{"t":"a"}'], ["binary", "AQI="], ["", "one\ntwo"], ["", ""], ["close", "4001 shutdown"]];

test("server-sent events, however they are cut", () => {
  for (let size = 1; size <= STREAM.length; size++) {
    const got = [], parser = new EventParser((event, data) => got.push([event, data]));
    for (let i = 0; i < STREAM.length; i += size) parser.push(STREAM.slice(i, i + size));
    assert.deepEqual(got, EVENTS, `in pieces of ${size}`);
  }
});

test("an event without an end is not held for ever", () => {
  const parser = new EventParser(() => {});
  const piece = "x".repeat(8 << 20);
  assert.throws(() => {
    for (let i = 0; i < 10; i++) parser.push(piece);
  }, (e) => e.reason.word === "too_big");
});

/** An answer of server-sent events. */
const stream = (text) => new Response(text, { headers: { "content-type": "text/event-stream" } });

/** Tries to connect through a fetch that answers as given; what it was asked comes back too. */
function attempt(answers) {
  const asked = [];
  const fetch = async (url, init) => {
    const { pathname, searchParams } = new URL(url);
    asked.push([init.method ?? "GET", pathname, searchParams.get("n"), init.body]);
    assert.match(searchParams.get("c"), /^[\w-]{26}$/);
    const answer = answers[pathname]?.shift();
    if (answer === undefined) return new Promise((_, no) => init.signal.addEventListener("abort", () => no(init.signal.reason)));
    if (answer instanceof Error) throw answer;
    return answer;
  };
  const o = { WebSocket: undefined, fetch, transports: ["events", "poll"], fallbackAfter: 3000 };
  return new Promise((resolve) => {
    const stop = dial("ws://a/session", o, new Memory(), { opened: (wire) => resolve({ wire, asked, stop }), failed: (why, unreachable) => resolve({ why, unreachable, asked, stop }) });
  });
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test("long polling: messages, a repeated poll and a repeated post, the server's close", async () => {
  const { wire, asked } = await attempt({
    "/session/events": [new Response('{"error":{"code":4013,"word":"limit","text":"full","retry":true}}', { status: 503 })],
    "/session/poll": [stream(""), stream('data: {"t":"a"}\n\n'), new TypeError("network"), stream("event: binary\ndata: AQI=\n\nevent: close\ndata: 4001 shutdown\n\n")],
    "/session/send": [new TypeError("network"), new Response(null, { status: 204 })],
  });
  const got = [];
  wire.onmessage = (m) => got.push(typeof m === "string" ? m : [...m]);
  wire.onclose = (...why) => got.push(why);
  wire.send(['{"t":"hello"}', '{"t":"ping"}']);
  for (let i = 0; i < 10; i++) await turn();
  assert.equal(wire.transport, "poll");
  assert.deepEqual(got, ['{"t":"a"}', [1, 2], [4001, "shutdown"]]);
  assert.deepEqual(asked.filter((a) => a[1] === "/session/poll").map((a) => a[2]), ["0", "1", "2", "2"]);
  assert.deepEqual(asked.filter((a) => a[0] === "POST"), Array(2).fill(["POST", "/session/send", "0", '{"t":"hello"}\n{"t":"ping"}\n']));
});

test("a server that is not there is not tried by other transports; one that refuses says why", async () => {
  const gone = await attempt({ "/session/events": [new TypeError("fetch failed")] });
  assert.deepEqual([gone.unreachable, gone.why.word, gone.asked.length], [true, "lost", 1]);
  const full = () => new Response('{"error":{"code":4013,"word":"limit","text":"full","retry":true}}', { status: 503 });
  const refused = await attempt({ "/session/events": [full()], "/session/poll": [full()] });
  assert.deepEqual([refused.unreachable, refused.why.text, refused.asked.length], [false, "full", 2]);
});

test("a page that something in between answers with is no session", async () => {
  const page = () => new Response("<h1>Sign in</h1>", { headers: { "content-type": "text/html" } });
  const { why, unreachable, asked } = await attempt({ "/session/events": [page()], "/session/poll": [page()] });
  assert.deepEqual([why.word, why.text, unreachable, asked.length], ["lost", 'the answer is "text/html", want "text/event-stream"', false, 2]);
});

test("a stream that something holds back is left for polls after a while", async (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  const dialing = attempt({ "/session/poll": [stream("")] });
  await turn();
  t.mock.timers.tick(3000);
  const { wire, asked } = await dialing;
  assert.deepEqual([wire.transport, asked.map((a) => a[1]).slice(0, 2)], ["poll", ["/session/events", "/session/poll"]]);
  wire.close();
});
