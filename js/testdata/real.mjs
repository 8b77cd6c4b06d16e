// The client beside a real server, in Node. js/server_test.go starts it with {server, control}: the session's address, and where to ask for faults: /cut (connections
// break), /down and /up (none is accepted), /eject.
import assert from "node:assert/strict";
import { Client } from "../index.js";
import { STATES } from "../states.js";

const { server, control } = JSON.parse(process.argv[2]);
const fault = async (name) => assert.ok((await fetch(`${control}/${name}`, { method: "POST" })).ok, name);

// What a page's window tells of the network.
const bus = new EventTarget();
globalThis.addEventListener = bus.addEventListener.bind(bus);
globalThis.removeEventListener = bus.removeEventListener.bind(bus);
const network = (on) => {
  Object.defineProperty(globalThis, "navigator", { value: { onLine: on }, configurable: true });
  bus.dispatchEvent(new Event(on ? "online" : "offline"));
};

/** A hundred messages, a break, a pause and a hundred more come once and in order; a call has its result. */
async function carries(transport) {
  const client = new Client({ servers: server, transports: [transport], token: "good", backoffMin: 50 });
  await client.connect();
  assert.equal(client.transport, transport);
  assert.equal(client.user, "ann");
  const path = `/log/${transport}`, got = [];
  const subscription = client.subscribe(path, (m) => m.t === "update" && got.push(m.data));
  const all = (from) => Promise.all(Array.from({ length: 100 }, (_, n) => client.publish(path, from + n)));
  assert.deepEqual((await all(0)).map((ack) => ack.offset), Array.from({ length: 100 }, (_, n) => n));
  assert.equal(await client.call("/double", 21), 42);
  await assert.rejects(client.call("/none"), (e) => e.reason.word === "not_found");
  const doc = client.subscribe("/doc"), lots = client.subscribe("/lots", null, { window: { start: 0, count: 2, order: "-price" } });
  await client.publish("/doc", { a: 1, b: transport }, { kind: "json" });
  await client.publish("/doc", { a: null }, { patch: true });
  await client.publish("/lots", { x: { price: 1 }, y: { price: 3 }, z: { price: 2 } }, { kind: "record" });
  const back = client.until("reconnected"); // it may be there before we hear of the break
  await fault("cut");
  const more = all(100);
  if (transport !== "poll") await back; // polls do not notice: each may come by a connection of its own
  else back.catch(() => {});
  await client.until("logged_in");
  await more;
  client.pause();
  const held = client.publish(path, 200);
  await held;
  assert.ok(got.length <= 200);
  client.resume();
  for (const began = Date.now(); got.length < 201 || doc.document?.b !== transport || lots.total !== 3; await new Promise((r) => setTimeout(r, 10))) {
    assert.ok(Date.now() - began < 60_000, `${transport}: ${got.length} messages, ${JSON.stringify(doc.document)}, ${lots.total} rows`);
  }
  assert.deepEqual(got, Array.from({ length: 201 }, (_, n) => n));
  assert.deepEqual([doc.document, lots.rows.map(([name]) => name)], [{ b: transport }, ["y", "z"]]);
  assert.equal(subscription.offset, 201);
  client.disconnect();
}

/** All fourteen states, told in one order to a quick, a slow and a late observer. */
async function states() {
  let asked = 0;
  const credentials = async () => {
    if (++asked === 1) throw new Error("not yet");
    return "good";
  };
  const client = new Client({ servers: server, transports: ["websocket"], credentials, backoffMin: 50 });
  const quick = [], slow = [];
  client.observe((e) => quick.push(e.state));
  const slowly = (async () => {
    for await (const e of client.states()) {
      slow.push(e.state);
      await new Promise((r) => setTimeout(r, 5));
      if (e.state === "disconnected") return;
    }
  })();
  await fault("down");
  const ready = client.connect();
  await client.until("failed");
  await fault("up");
  await ready;
  client.pause();
  client.resume();
  const back = client.until("reconnected");
  await fault("cut");
  await back;
  await client.until("logged_in");
  network(false);
  assert.equal(client.state, "unreachable");
  network(true);
  await client.until("logged_in");
  const over = client.until("disconnected");
  await fault("eject");
  await over;
  const late = [];
  client.observe((e) => late.push(e.state));
  await slowly;
  assert.deepEqual(slow, quick);
  assert.deepEqual(late, quick);
  assert.deepEqual(quick.slice(-2), ["ejected", "disconnected"]);

  const refused = new Client({ servers: server, transports: ["events"], token: "bad" });
  await assert.rejects(refused.connect(), (e) => e.reason.word === "unauthorized");
  const seen = new Set([...quick, ...refused.log.map((e) => e.state)]);
  assert.deepEqual(STATES.map((s) => s.word).filter((s) => !seen.has(s)), []);
}

for (const transport of ["websocket", "events", "poll"]) await carries(transport);
await states();
console.log("all is well");
process.exit();
