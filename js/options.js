import { ALL_TRANSPORTS, TRANSPORTS } from "./dial.js";

/**
 * @typedef {import("./dial.js").Transport} Transport
 *
 * @typedef {object} CredentialsRequest
 * @property {string} user  who the server said that this client is, at the last login; "" before
 * @property {boolean} renewal  the session stands and its credentials are about to end
 * @property {AbortSignal} signal  nobody waits for the answer any more
 *
 * @typedef {object} ClientOptions  what is left out takes the default
 * @property {string | (string | string[])[]} [servers]  addresses of session endpoints (ws or wss), tried one after the other; those of a list within the list are
 *   a group, tried in a random order, so that clients spread over them. After a broken session the same server is tried first. In a page, /session of the page's own host
 * @property {Transport[]} [transports]  what may carry the session, in the order in which they are tried: websocket, events, poll; also webrtc, a data channel. What worked with a server is
 *   tried first for ten minutes
 * @property {string} [token]  the credential, where there is no `credentials`
 * @property {(r: CredentialsRequest) => string | Promise<string>} [credentials]  is asked for a credential at each login, and before one ends that the server says has an end.
 *   An error with a `reason` that is final (`throw new ReasonError("sign in", reason("unauthorized"))`) ends everything; otherwise it is asked again after a back-off
 * @property {string} [name]  of the software, for the server's log: "hawser-js/0.1"
 * @property {number} [backoffMin]  the first attempt after a failure waits between 0 and so many ms, each further one up to twice as long: 500
 * @property {number} [backoffMax]  no attempt waits longer, in ms: 30,000
 * @property {number} [stable]  a session that stood so long, in ms, starts the back-off anew: 10,000
 * @property {number} [connectTimeout]  for a connection, over all transports, in ms: 10,000
 * @property {number} [loginTimeout]  from the connection to the welcome, in ms: 10,000
 * @property {number} [credentialsTimeout]  for `credentials`, in ms: 30,000
 * @property {number} [fallbackAfter]  for one transport before the next one is tried, in ms: 3,000
 * @property {number} [upgradeBase]  about how long after a session began on a fallback the WebSocket is tried again in the background, in ms: 30,000
 * @property {number} [upgradeMax]  that time doubles up to so many ms: 600,000
 * @property {number} [heartbeat]  the interval of pings in ms instead of the server's; 0 for none
 * @property {number} [maxPending]  the most publishes and calls that wait for an answer: 16,384
 * @property {number} [maxHeld]  the most bytes that are held during a pause: 8 MiB
 * @property {number} [history]  how many events `log` keeps: 200
 * @property {number} [stateHistory]  how many changes of state are kept: 1024
 * @property {import("./dial.js").WebSocketClass} [WebSocket]  the browser's
 * @property {RTCIceServer[]} [iceServers]  STUN and TURN servers for a session over webrtc: none
 * @property {typeof fetch} [fetch]  the browser's
 * @property {() => number} [random]  from 0 to 1, for the back-off and the order of servers: Math.random
 *
 * @typedef {object} MachineOptions
 * @property {string} client  what hello says
 * @property {string} [token]
 * @property {boolean} [provider]  credentials are asked for at each login: `credentials` or `credentialsFailed` is to be called
 * @property {string} [publisher]  names this client: 16 to 64 random letters, digits, "-" and "_"; without it requests that are sent again may be done twice
 * @property {number} [maxPending]  the most publishes and calls without an answer: 16,384
 * @property {number} [maxHeld]  the most bytes that are held during a pause: 8 MiB
 */

const DEFAULTS = {
  name: "hawser-js/0.1",
  token: "",
  backoffMin: 500,
  backoffMax: 30_000,
  stable: 10_000,
  connectTimeout: 10_000,
  loginTimeout: 10_000,
  credentialsTimeout: 30_000,
  fallbackAfter: 3_000,
  upgradeBase: 30_000,
  upgradeMax: 600_000,
  history: 200,
  stateHistory: 1024,
  random: Math.random,
};

/** @typedef {ReturnType<typeof filled>} Options */

/**
 * The options with the defaults in place.
 * @param {ClientOptions | string} options  or the address of the server
 * @throws {RangeError} what makes no sense
 */
export function filled(options) {
  const o = typeof options === "string" ? { servers: options } : options;
  const given = /** @type {ClientOptions} */ (Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined)));
  const groups = [given.servers ?? pageServer()].flat().map((s) => [s].flat()).filter((g) => g.length > 0);
  if (groups.length === 0 || groups.flat().some((s) => !/^wss?:\/\/[^/]/.test(s))) {
    throw new RangeError(`hawser: servers ${JSON.stringify(given.servers ?? [])}: want ws:// or wss:// addresses`);
  }
  const WebSocket = given.WebSocket ?? globalThis.WebSocket, fetch = given.fetch ?? globalThis.fetch?.bind(globalThis);
  const wanted = given.transports ?? [...TRANSPORTS];
  const bad = wanted.find((t) => !ALL_TRANSPORTS.includes(t));
  if (bad) throw new RangeError(`hawser: transport ${JSON.stringify(bad)}: want ${ALL_TRANSPORTS.join(", ")}`);
  const transports = wanted.filter((t) => (t === "websocket" ? WebSocket : Boolean(fetch) && (t !== "webrtc" || globalThis.RTCPeerConnection)));
  if (transports.length === 0) throw new RangeError("hawser: there is no WebSocket and no fetch here; give them in the options");
  return { ...DEFAULTS, ...given, groups, transports, WebSocket, fetch };
}

function pageServer() {
  const at = globalThis.location;
  return at?.host ? `${at.protocol === "https:" ? "wss" : "ws"}://${at.host}/session` : [];
}
