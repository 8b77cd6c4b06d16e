import { Client } from "../client.js";

/** A WebSocket whose other end is the test. */
export class FakeWebSocket {
  static all = [];
  sent = [];
  closed = undefined;
  opened = false;

  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    FakeWebSocket.all.push(this);
  }

  static get last() {
    return FakeWebSocket.all.at(-1);
  }

  send(text) {
    this.sent.push(JSON.parse(text));
  }

  close(code, word) {
    this.closed ??= { code, word };
  }

  /** The messages sent since the last call. */
  take() {
    return this.sent.splice(0);
  }

  open() {
    if (!this.opened) this.onopen?.({});
    this.opened = true;
  }

  say(message) {
    this.onmessage?.({ data: message instanceof Uint8Array ? message.buffer : JSON.stringify(message) });
  }

  end(code = 1006, reason = "") {
    this.onclose?.({ code, reason });
  }

  welcome(more = {}) {
    this.open();
    this.say({ t: "welcome", version: 1, session: "s-1", server: "hawser/0.1", heartbeat: 10000, resumed: false, at: Date.now(), ...more });
    return this;
  }
}

/** A client on fake sockets and fake time; tick(ms) lets time pass. */
export function setUp(t, options = {}) {
  FakeWebSocket.all = [];
  let now = 1000;
  t.mock.timers.enable({ apis: ["setTimeout"] });
  t.mock.method(performance, "now", () => now);
  const client = new Client({ servers: ["ws://a/session", "ws://b/session"], WebSocket: FakeWebSocket, transports: ["websocket"], random: () => 0.5, ...options });
  const tick = (ms) => {
    for (let left = ms; left > 0; left -= 50) {
      now += Math.min(50, left);
      t.mock.timers.tick(Math.min(50, left));
    }
  };
  return { client, tick };
}

export const EPOCH = "00000000000000b2";
export const update = (offset, data, more = {}) => ({ t: "update", path: "/log", epoch: EPOCH, offset, at: 1, data, ...more });
export const snapshot = (offset, more = {}) => ({ t: "snapshot", path: "/log", kind: "log", epoch: EPOCH, offset, ...more });
