// Both ends of npm's ws for the tests: `node node.mjs {"mode": "client", "url": …}` or `{"mode": "server"}`. What it says is lines of JSON.
import { WebSocket, WebSocketServer } from "ws";

const say = (/** @type {object} */ o) => console.log(JSON.stringify(o));
const o = JSON.parse(process.argv[2]);
const deflate = o.deflate ? { threshold: 0, ...o.deflate } : false;

/** Opens a connection and gives its messages, pongs and end one at a time. */
function connect(url) {
  const ws = new WebSocket(url, ["other", "interop"], { perMessageDeflate: deflate, maxPayload: 0 });
  const queue = [], waiting = [];
  const put = (v) => (waiting.length > 0 ? waiting.shift()(v) : queue.push(v));
  ws.on("message", (data, binary) => put({ data: binary ? data : data.toString() }));
  ws.on("pong", (data) => put({ pong: data.toString() }));
  ws.on("close", (code, reason) => put({ code, reason: reason.toString() }));
  ws.on("error", (e) => put({ error: String(e) }));
  const next = () => (queue.length > 0 ? Promise.resolve(queue.shift()) : new Promise((r) => waiting.push(r)));
  return new Promise((resolve, reject) => {
    ws.once("open", () => resolve({ ws, next }));
    ws.once("error", reject);
  });
}

/** Sends what the sizes ask for, text and binary, and says what does not come back. */
async function echoes({ ws, next }) {
  const wrong = [];
  for (const n of o.sizes) {
    for (const sent of ["日".repeat(n / 3) + "x".repeat(n % 3), Buffer.alloc(n, "\0\xfe", "latin1")]) {
      ws.send(sent);
      const got = await next();
      const same = typeof sent === "string" ? got.data === sent : Buffer.isBuffer(got.data) && sent.equals(got.data);
      if (!same) wrong.push(`${typeof sent} of ${n}: ${JSON.stringify(got).slice(0, 100)}`);
    }
  }
  return wrong;
}

async function client() {
  const c = await connect(o.url + "/echo");
  const wrong = await echoes(c);
  c.ws.send("in ", { fin: false });
  c.ws.send("frag", { fin: false });
  c.ws.send("ments", { fin: true });
  const fragments = (await c.next()).data;
  c.ws.ping("to hawser");
  const pong = (await c.next()).pong;
  c.ws.send("ping me");
  const pinged = (await c.next()).data;
  c.ws.send("fragments");
  const joined = (await c.next()).data;
  c.ws.close(4001, "bye ü");
  const closed = await c.next();
  const other = await (await connect(o.url + "/close")).next();
  const silent = await (await connect(o.url + "/nostatus")).next();
  const quiet = await connect(o.url + "/echo");
  quiet.ws.close();
  await quiet.next();
  say({ protocol: c.ws.protocol, extensions: c.ws.extensions, wrong, fragments, pong, pinged, joined, closed, other, silent });
}

function server() {
  const s = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate: deflate, maxPayload: 0, handleProtocols: (/** @type {Set<string>} */ p) => p.has("interop") && "interop" });
  s.on("listening", () => say({ port: s.address().port }));
  s.on("connection", (ws) => {
    ws.on("close", (code, reason) => say({ code, reason: reason.toString() }));
    ws.on("pong", () => ws.send("ponged"));
    ws.on("message", (data, binary) => {
      switch (binary ? "" : data.toString()) {
        case "close me":
          return ws.close(4003, "as asked ü");
        case "close without a code":
          return ws.close();
        case "ping me":
          return ws.ping("from ws");
        case "fragments":
          ws.send("frag", { fin: false });
          ws.send("ment", { fin: false });
          return ws.send("s", { fin: true });
      }
      ws.send(data, { binary });
    });
  });
}

await { client, server }[o.mode]();
