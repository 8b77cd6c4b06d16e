/**
 * The messages of the session protocol, version 1 (docs/protocol.md): text messages are JSON objects with a "t",
 * binary messages are media behind a small header. Nothing here does I/O.
 *
 * Epochs are unsigned 64-bit numbers and travel as 16 lower-case hexadecimal digits; offsets are plain numbers below 2^53.
 * `time` is media time and `at` is wall-clock time since 1970, both in milliseconds.
 *
 * @typedef {import("./reasons.js").Reason} Reason
 *
 * @typedef {{t: "hello", version: number, client: string, token?: string, session?: string, publisher?: string, subscribe?: Wanted[], play?: Wanted[]}} Hello
 * @typedef {{path: string, from?: From | "keyframe", epoch?: string, offset?: number} & Want} Wanted  a subscribe or a play without its "t"
 * @typedef {{t: "subscribe" | "play"} & Wanted} Ask
 * @typedef {{t: "unsubscribe" | "stop", path: string}} Leave
 * @typedef {{t: "throttle", path: string, rate: number | null}} Throttle
 * @typedef {{t: "publish", id: number, path: string, kind?: SubjectKind, data?: any, fields?: Fields, patch?: Fields, time?: number, ttl?: number}} Publish
 * @typedef {{t: "call", id: number, name: string, data?: any, timeout?: number}} Call
 * @typedef {{t: "cancel", id: number}} Cancel
 * @typedef {{t: "token", id: number, token: string}} Token
 * @typedef {{t: "pause" | "resume"}} PauseResume
 * @typedef {{t: "source", path: string, on: boolean, required?: boolean, priority?: number}} Source
 * @typedef {{t: "ping" | "pong", id: number, at?: number}} Ping
 * @typedef {{t: "signal", path: string, data: any}} Signal  about the WebRTC peer of a path; both ways
 * @typedef {{t: "bye", reason?: Reason}} Bye
 *
 * What of a subject is wanted: `count` messages of its history or those of `age` ms, at most `rate` updates a second, only these `fields` of a record, or a
 * `window` of it.
 * @typedef {{count?: number, age?: number, rate?: number | null, fields?: string[], window?: Window}} Want
 *
 * A list that the server makes of a record: `count` rows (at most 500) from `start` on, in the `order` of "name" (the default), of a member of the values or of
 * the values themselves ("."), turned around by "-" before it; `filter`: member, operator, value, all of which must hold.
 * @typedef {{start: number, count: number, order?: string, filter?: [string, FilterOp, any][]}} Window
 * @typedef {"=" | "!=" | "<" | "<=" | ">" | ">=" | "prefix" | "contains"} FilterOp
 *
 * @typedef {{t: "welcome", version: number, session: string, server: string, heartbeat: number, resumed: boolean, user?: string, expires?: number, at: number}} Welcome
 * @typedef {{t: "snapshot", path: string, kind: SubjectKind | "none", epoch: string, offset: number, fields?: Fields, data?: any, time?: number}} Snapshot
 * @typedef {{t: "update", path: string, epoch: string, offset: number, at: number, kind?: SubjectKind, data?: any, fields?: Fields, patch?: Fields, time?: number}} Update
 * @typedef {{t: "window", path: string, epoch: string, offset: number, total: number, start: number, rows: [string, any][]}} WindowView
 * @typedef {{t: "gap", path: string, epoch: string, from: number, to: number}} Gap
 * @typedef {{t: "status", path: string, status: SubjectStatus, reason?: Reason}} Status
 * @typedef {{t: "ack", id: number, path: string, epoch: string, offset: number}} Ack
 * @typedef {{t: "result", id: number, data?: any, expires?: number, at?: number, reason?: Reason}} Result
 * @typedef {{t: "wanted", path: string, on: boolean}} WantedPath
 * @typedef {{t: "media", path: string, epoch: string, offset: number, status: MediaStatus, mime?: string, tracks?: Track[],
 *            time?: number, skipped?: number, reason?: Reason}} MediaInfo
 * @typedef {{t: "error", id?: number, path?: string, reason: Reason}} ErrorMessage
 * @typedef {{t: "ejected", reason: Reason}} Ejected
 * @typedef {{t: "drain", within?: number, reason: Reason}} Drain
 *
 * @typedef {"live" | "snapshot" | "offset" | "history"} From
 * @typedef {"log" | "record" | "json"} SubjectKind
 * @typedef {"ok" | "stale" | "limited" | "removed" | "refused"} SubjectStatus
 * @typedef {"live" | "waiting" | "gone"} MediaStatus
 * @typedef {{[name: string]: any}} Fields  a field that is null is removed
 * @typedef {{id: number, kind: "video" | "audio" | "data", codec: string, width?: number, height?: number,
 *            sampleRate?: number, channels?: number}} Track
 *
 * @typedef {Hello | Ask | Leave | Throttle | Publish | Call | Cancel | Token | PauseResume | Source | Ping | Signal | Bye} ClientMessage
 * @typedef {Welcome | Snapshot | Update | WindowView | Gap | Status | Ack | Result | WantedPath | MediaInfo | ErrorMessage | Ejected | Drain | Ping | Signal | Bye} ServerMessage
 *
 * One binary message: an init segment or one fragment.
 * @typedef {object} Media
 * @property {string} path
 * @property {string} epoch
 * @property {number} offset
 * @property {number} dts  decode time in microseconds
 * @property {"all" | "video" | "audio"} kind
 * @property {boolean} init  data is an init segment (moov), otherwise one fragment (moof and mdat)
 * @property {boolean} key  the fragment starts with a keyframe
 * @property {boolean} discontinuity  time jumps here, or what came before was left out
 * @property {Uint8Array} data  a view into the message, not a copy
 */

/** The WebSocket subprotocol. */
export const SUBPROTOCOL = "hawser.v1";

/** The protocol version in hello and welcome. */
export const VERSION = 1;

/** Most bytes of a path in UTF-8. */
export const MAX_PATH = 255;

/** Most bytes of a message from client to server. */
export const MAX_MESSAGE = 1 << 20;

/** Most subscriptions, and most plays, that one hello asks for. */
export const MAX_SUBSCRIPTIONS = 1000;

const MEDIA = 1;
const FLAG_INIT = 1, FLAG_KEY = 2, FLAG_DISCONTINUITY = 4;
const MEDIA_KINDS = /** @type {const} */ (["all", "video", "audio"]);
const FIXED = 4 + 8 + 8 + 8; // header bytes besides the path

const utf8 = new TextEncoder();
const fromUtf8 = new TextDecoder("utf-8", { fatal: true });

/** What a peer sent breaks the protocol. */
export class ProtocolError extends Error {
  /** @param {string} text */
  constructor(text) {
    super(`session: ${text}`);
    this.name = "ProtocolError";
  }
}

/**
 * What makes a path unusable, or "" for a good one.
 * @param {unknown} path
 */
export function pathFault(path) {
  if (typeof path !== "string") return "want a string";
  if (path.length > MAX_PATH || utf8.encode(path).length > MAX_PATH) return `more than ${MAX_PATH} bytes`;
  if (path[0] !== "/") return 'want "/" first';
  for (const segment of path.slice(1).split("/")) {
    if (segment === "") return "empty segment";
    if (segment === "..") return '".." segment';
  }
  return "";
}

/**
 * How many bytes a text has in UTF-8.
 * @param {string} text
 */
export function byteLength(text) {
  return utf8.encode(text).length;
}

/**
 * Applies a merge patch (RFC 7396) to a JSON document, or to none. Neither is altered.
 * @param {any} document @param {any} patch
 */
export function mergePatch(document, patch) {
  if (!is.object(patch)) return patch;
  /** @type {Map<string, any>} */
  const members = new Map(is.object(document) ? Object.entries(document) : []);
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) members.delete(name);
    else members.set(name, mergePatch(members.get(name), value));
  }
  return Object.fromEntries(members); // not by assignment: a member may be called __proto__
}

/** @type {{[name: string]: (v: any) => boolean}} */
const is = {
  text: (v) => typeof v === "string",
  path: (v) => pathFault(v) === "",
  epoch: (v) => typeof v === "string" && /^[0-9a-f]{16}$/.test(v),
  offset: (v) => Number.isSafeInteger(v) && v >= 0,
  number: (v) => typeof v === "number",
  interval: (v) => typeof v === "number" && v >= 0,
  flag: (v) => typeof v === "boolean",
  object: (v) => typeof v === "object" && v !== null && !Array.isArray(v),
  list: (v) => Array.isArray(v),
  kind: (v) => ["log", "record", "json", "none"].includes(v),
  id: (v) => Number.isSafeInteger(v) && v > 0,
  status: (v) => ["ok", "stale", "limited", "removed", "refused"].includes(v),
  live: (v) => ["live", "waiting", "gone"].includes(v),
};

/**
 * The fields of each message from the server; "?" marks what may be absent.
 * @type {{[t: string]: {[field: string]: string}}}
 */
const SHAPES = {
  welcome: { version: "offset", session: "text", server: "text?", heartbeat: "interval", resumed: "flag?", user: "text?", expires: "number?", at: "number?" },
  snapshot: { path: "path", kind: "kind", epoch: "epoch", offset: "offset", fields: "object?", time: "number?" },
  update: { path: "path", epoch: "epoch", offset: "offset", at: "number?", kind: "kind?", fields: "object?", patch: "object?", time: "number?" },
  window: { path: "path", epoch: "epoch", offset: "offset", total: "offset", start: "offset", rows: "list" },
  gap: { path: "path", epoch: "epoch", from: "offset", to: "offset" },
  status: { path: "path", status: "status", reason: "object?" },
  ack: { id: "id", path: "path", epoch: "epoch", offset: "offset" },
  result: { id: "id", expires: "number?", at: "number?", reason: "object?" },
  wanted: { path: "path", on: "flag" },
  media: { path: "path", epoch: "epoch", offset: "offset", status: "live", mime: "text?", tracks: "list?", time: "number?", skipped: "offset?", reason: "object?" },
  ping: { id: "id", at: "number?" },
  pong: { id: "id", at: "number?" },
  signal: { path: "path" },
  error: { id: "offset?", path: "text?", reason: "object" },
  ejected: { reason: "object" },
  drain: { within: "interval?", reason: "object" },
  bye: { reason: "object?" },
};

/**
 * Reads one text message from the server. A type that this version does not know comes back as it is, to be ignored.
 * @param {string} text
 * @returns {ServerMessage}
 * @throws {ProtocolError} not a JSON object with "t", or a field is missing or of the wrong type
 */
export function parseMessage(text) {
  let m;
  try {
    m = JSON.parse(text);
  } catch (e) {
    throw new ProtocolError(`message is not JSON: ${/** @type {Error} */ (e).message}`);
  }
  if (!is.object(m) || typeof m.t !== "string") throw new ProtocolError('message is not an object with "t"');
  const shape = Object.hasOwn(SHAPES, m.t) ? SHAPES[m.t] : {};
  for (const field in shape) {
    const want = shape[field].replace("?", "");
    if (m[field] === null) delete m[field]; // the same as nothing
    if (m[field] === undefined ? shape[field] === want : !is[want](m[field])) {
      throw new ProtocolError(`message "${m.t}": field "${field}": got ${brief(m[field])}, want ${want}`);
    }
  }
  if (m.t === "signal" && m.data === undefined) throw new ProtocolError('message "signal": want data');
  if (m.t === "update" && [m.data, m.fields, m.patch].filter((v) => v !== undefined).length !== 1) throw new ProtocolError('message "update": want data, fields or patch');
  return m;
}

/** @param {unknown} v */
function brief(v) {
  const s = v === undefined ? "nothing" : JSON.stringify(v);
  return s.length > 40 ? s.slice(0, 40) + "…" : s;
}

/**
 * Reads the header of a binary message.
 * @param {ArrayBuffer | Uint8Array} message  the data of the result is a view into it
 * @returns {Media | null}  null for a kind of binary message that this version does not know, to be ignored
 * @throws {ProtocolError} too short, or a path that is none
 */
export function parseMedia(message) {
  const b = message instanceof Uint8Array ? message : new Uint8Array(message);
  if (b.length > 0 && b[0] !== MEDIA) return null;
  const n = b.length < 4 ? 0 : b[3];
  if (b.length < FIXED + n) throw new ProtocolError(`media header: got ${b.length} bytes, want ${FIXED + n} or more`);
  if (b[2] >= MEDIA_KINDS.length) return null;
  const view = new DataView(b.buffer, b.byteOffset, b.byteLength);
  return {
    path: mediaPath(b.subarray(4, 4 + n)),
    epoch: view.getBigUint64(4 + n).toString(16).padStart(16, "0"),
    offset: Number(view.getBigUint64(12 + n)),
    dts: Number(view.getBigInt64(20 + n)),
    kind: MEDIA_KINDS[b[2]],
    init: (b[1] & FLAG_INIT) !== 0,
    key: (b[1] & FLAG_KEY) !== 0,
    discontinuity: (b[1] & FLAG_DISCONTINUITY) !== 0,
    data: b.subarray(FIXED + n),
  };
}

/** @param {Uint8Array} bytes */
function mediaPath(bytes) {
  let path;
  try {
    path = fromUtf8.decode(bytes);
  } catch {
    throw new ProtocolError("media header: path is not UTF-8");
  }
  const fault = pathFault(path);
  if (fault) throw new ProtocolError(`media header: ${fault}`);
  return path;
}

/**
 * The binary message for m; the inverse of parseMedia.
 * @param {Media} m
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function encodeMedia(m) {
  const path = utf8.encode(m.path), n = path.length;
  const b = new Uint8Array(FIXED + n + m.data.length);
  const view = new DataView(b.buffer);
  b[0] = MEDIA;
  b[1] = (m.init ? FLAG_INIT : 0) | (m.key ? FLAG_KEY : 0) | (m.discontinuity ? FLAG_DISCONTINUITY : 0);
  b[2] = MEDIA_KINDS.indexOf(m.kind);
  b[3] = n;
  b.set(path, 4);
  view.setBigUint64(4 + n, BigInt("0x" + m.epoch));
  view.setBigUint64(12 + n, BigInt(m.offset));
  view.setBigInt64(20 + n, BigInt(m.dts));
  b.set(m.data, FIXED + n);
  return b;
}
