// npm's ws on streams of Node's HTTP/2 (RFC 8441), as a server for the tests: `node http2.mjs {"key": …, "cert": …}`, without TLS if these are missing. What it says is lines of JSON.
import http2 from "node:http2";
import { WebSocket } from "ws";

const say = (/** @type {object} */ o) => console.log(JSON.stringify(o));
const { key, cert } = JSON.parse(process.argv[2]);
const settings = { enableConnectProtocol: true };
const server = key ? http2.createSecureServer({ key, cert, settings }) : http2.createServer({ settings });

server.on("stream", (stream, headers) => {
  if (headers[":method"] !== "CONNECT" || headers[":protocol"] !== "websocket" || headers["sec-websocket-version"] !== "13") {
    stream.respond({ ":status": 400 }, { endStream: true });
    return;
  }
  stream.respond({ ":status": 200, "sec-websocket-protocol": "interop" });
  stream.setNoDelay = () => {}; // what ws expects of a socket
  const ws = new WebSocket(null, undefined, { autoPong: true, closeTimeout: 30_000 });
  ws.setSocket(stream, Buffer.alloc(0), { allowSynchronousEvents: true, maxPayload: 0, skipUTF8Validation: false });
  ws.on("error", (e) => console.error(e));
  ws.on("close", (code, reason) => say({ code, reason: reason.toString() }));
  ws.on("pong", () => ws.send("ponged"));
  ws.on("message", (data, binary) => {
    switch (binary ? "" : data.toString()) {
      case "close me":
        return ws.close(4003, "as asked ü");
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
server.listen(0, "127.0.0.1", () => say({ port: server.address().port }));
