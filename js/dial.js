import { SUBPROTOCOL } from "./protocol.js";
import { reason } from "./reasons.js";
import { openPlain } from "./plain.js";
import { openChannel } from "./channel.js";

/**
 * @typedef {import("./reasons.js").Reason} Reason
 * @typedef {"websocket" | "events" | "poll" | "webrtc"} Transport
 *
 * A connection that stands.
 * @typedef {object} Wire
 * @property {Transport} transport
 * @property {((data: string | ArrayBuffer | Uint8Array) => void) | undefined} onmessage
 * @property {((code: number, text: string) => void) | undefined} onclose  not after close
 * @property {(texts: string[]) => void} send
 * @property {(code: number, word: string) => void} close
 *
 * @typedef {object} To  who is told what became of an attempt; whoever gets a wire sets its handlers at once
 * @property {(wire: Wire) => void} opened
 * @property {(r: Reason, unreachable: boolean) => void} failed  unreachable: no other transport reaches the server either
 *
 * @typedef {{new (url: string, protocols: string): WebSocket}} WebSocketClass
 * @typedef {object} DialOptions
 * @property {WebSocketClass} WebSocket
 * @property {typeof fetch} fetch
 * @property {Transport[]} transports  in the order in which they are tried
 * @property {number} fallbackAfter  ms after which the next transport is tried
 * @property {RTCIceServer[]} [iceServers]  STUN and TURN, for webrtc
 */

/** The transports of a session, in the order in which they are tried: server-sent events and long polling carry what the client sends in POSTs. @type {readonly Transport[]} */
export const TRANSPORTS = Object.freeze(["websocket", "events", "poll"]);

/** All that may be asked for: a data channel of WebRTC, too. @type {readonly Transport[]} */
export const ALL_TRANSPORTS = Object.freeze([...TRANSPORTS, "webrtc"]);

/** How long the transport that worked is tried first, and one that does not hold last, in ms. */
const REMEMBERED = 10 * 60_000;

/** After how many connections in a row that broke soon a transport is taken not to hold. */
const BREAKS = 3;

/** Where pages of one origin share what worked. */
const STORED = "hawser.transports";

/**
 * Which transport worked last with which origin, in memory and, where there is one, in the browser's storage; and which do not hold: something between may let a transport
 * begin and then nothing through, or cut it after seconds, where another one holds.
 */
export class Memory {
  /** @type {{[origin: string]: {transport: Transport, at: number}}} */
  #worked = {};
  /** How many connections broke soon in a row, by origin and transport. @type {Map<string, {n: number, at: number}>} */
  #breaks = new Map();

  /** @param {string} server @param {Transport[]} transports */
  order(server, transports) {
    const { transport, at } = { ...this.#stored(), ...this.#worked }[origin(server)] ?? {};
    const good = transport && transports.includes(transport) && Math.abs(Date.now() - (at ?? 0)) < REMEMBERED;
    const order = good ? [transport, ...transports.filter((t) => t !== transport)] : transports;
    return [...order.filter((t) => this.holds(server, t)), ...order.filter((t) => !this.holds(server, t))];
  }

  /** Whether a transport is as good as any, as far as is known. @param {string} server @param {string} transport */
  holds(server, transport) {
    const { n, at } = this.#breaks.get(`${transport} ${origin(server)}`) ?? { n: 0, at: 0 };
    return n < BREAKS || Math.abs(Date.now() - at) > REMEMBERED;
  }

  /** A connection broke soon. One without a welcome says as much as several that broke later. @param {string} server @param {string} transport @param {boolean} welcome */
  broke(server, transport, welcome) {
    const key = `${transport} ${origin(server)}`;
    this.#breaks.set(key, { n: welcome ? (this.#breaks.get(key)?.n ?? 0) + 1 : BREAKS, at: Date.now() });
  }

  /** A connection broke that had stood for a while. @param {string} server @param {string} transport */
  stood(server, transport) {
    this.#breaks.delete(`${transport} ${origin(server)}`);
  }

  /** @param {string} server @param {Transport} transport */
  worked(server, transport) {
    this.#worked[origin(server)] = { transport, at: Date.now() };
    try {
      globalThis.localStorage?.setItem(STORED, JSON.stringify({ ...this.#stored(), ...this.#worked }));
    } catch {
      // no storage, or it is full
    }
  }

  /** @returns {{[origin: string]: {transport: Transport, at: number}}} */
  #stored() {
    try {
      return JSON.parse(globalThis.localStorage?.getItem(STORED) ?? "{}");
    } catch {
      return {};
    }
  }
}

/** @param {string} server */
function origin(server) {
  return new URL(server).host;
}

/**
 * Opens a connection by the first transport that works, that of the last time first.
 * @param {string} server @param {DialOptions} o @param {Memory} memory @param {To} to  one of its methods is called, once
 * @returns {() => void} gives it up
 */
export function dial(server, o, memory, to) {
  const order = memory.order(server, o.transports);
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let timer;
  let stop = () => {}, over = false;
  const attempt = (/** @type {number} */ i, /** @type {Reason | undefined} */ before) => {
    let left = false;
    const leave = () => {
      const first = !left && !over;
      left = true;
      clearTimeout(timer);
      return first;
    };
    const failed = (/** @type {Reason} */ r, /** @type {boolean} */ unreachable) => {
      if (!leave()) return;
      const why = before && r.word === "lost" && before.word !== "lost" ? before : r; // what says more
      if (i + 1 < order.length && !unreachable) return attempt(i + 1, why);
      over = true;
      to.failed(why, unreachable);
    };
    stop = open(order[i], server, o, {
      opened: (wire) => {
        if (!leave()) return wire.close(1000, "");
        over = true;
        memory.worked(server, wire.transport);
        to.opened(wire);
      },
      failed,
    });
    if (i + 1 === order.length || left) return;
    const giveUp = stop;
    timer = setTimeout(() => {
      giveUp();
      failed(reason("timeout", `no connection by ${order[i]} within ${o.fallbackAfter} ms`), false);
    }, o.fallbackAfter);
  };
  attempt(0, undefined);
  return () => {
    over = true;
    clearTimeout(timer);
    stop();
  };
}

/** Opens a connection by one transport. @param {Transport} transport @param {string} server @param {DialOptions} o @param {To} to @returns {() => void} */
function open(transport, server, o, to) {
  if (transport === "websocket") return openWebSocket(server, o, to);
  if (transport === "webrtc") return openChannel(server, o, to);
  return openPlain(transport, server, o, to);
}

/** @param {string} server @param {DialOptions} o @param {To} to @returns {() => void} */
function openWebSocket(server, o, to) {
  /** @type {WebSocket} */
  let ws;
  try {
    ws = new o.WebSocket(server, SUBPROTOCOL);
  } catch (e) {
    queueMicrotask(() => to.failed(reason("lost", String(e)), false));
    return () => {};
  }
  ws.binaryType = "arraybuffer";
  let open = false;
  /** @type {Wire} */
  const wire = {
    transport: "websocket",
    onmessage: undefined,
    onclose: undefined,
    send: (texts) => texts.forEach((t) => ws.send(t)),
    close: (code, word) => {
      ws.onopen = ws.onmessage = ws.onclose = null;
      ws.close(code, word);
    },
  };
  ws.onopen = () => {
    open = true;
    to.opened(wire);
  };
  ws.onmessage = (e) => wire.onmessage?.(e.data);
  ws.onclose = (e) => (open ? wire.onclose?.(e.code, e.reason) : to.failed(reason("lost", e.reason), false));
  ws.onerror = () => {}; // close follows
  return () => wire.close(1000, "");
}
