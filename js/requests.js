import { MAX_MESSAGE, byteLength } from "./protocol.js";
import { ReasonError, reason } from "./reasons.js";
import { checkPath } from "./follow.js";

/** The most publishes and calls that wait for an answer, and the most characters of them, unless said otherwise. */
export const MAX_PENDING = 16_384, MAX_PENDING_SIZE = 16 << 20;

/** The most requests with an id that are on the way without an answer: as many as a server remembers of a publisher. */
export const MAX_IN_FLIGHT = 4096;

/** What a message that is kept counts besides its characters. */
export const OVERHEAD = 64;

/**
 * @typedef {import("./machine.js").Event} Event
 * @typedef {import("./protocol.js").ClientMessage} ClientMessage
 *
 * A publish or a call without an answer.
 * @typedef {object} Pending
 * @property {number} id
 * @property {string} path
 * @property {string} text  the message
 * @property {boolean} call  else a publish
 * @property {boolean} once  not to be sent again
 */

/** The requests that wait, in the order of their ids. */
export class Pendings {
  #last = 0;
  #size = 0;
  #most;
  #mostSize;
  /** Sent on the connection that stands. @type {Map<number, Pending>} */
  #sent = new Map();
  /** Still to be sent. @type {Map<number, Pending>} */
  #waiting = new Map();

  /** @param {number} [most] @param {number} [mostSize] */
  constructor(most = MAX_PENDING, mostSize = MAX_PENDING_SIZE) {
    this.#most = most;
    this.#mostSize = mostSize;
  }

  /** Uses the next id. Ids count from 1 and are never used twice. */
  nextID() {
    return ++this.#last;
  }

  /** The next id, which is not used yet. */
  get next() {
    return this.#last + 1;
  }

  /** @param {string} what @throws {ReasonError} no more may wait */
  checkRoom(what) {
    const n = this.#sent.size + this.#waiting.size;
    if (n >= this.#most || this.#size >= this.#mostSize) throw new ReasonError(what, reason("limit", `${n} requests wait for an answer`));
  }

  /** @param {Pending} p */
  add(p) {
    this.#waiting.set(p.id, p);
    this.#size += p.text.length + OVERHEAD;
  }

  /**
   * Forgets a request, answered or called off.
   * @param {number} id @param {boolean} call
   * @returns {"sent" | "waiting" | undefined}  what it was
   */
  settle(id, call) {
    for (const [where, of] of /** @type {const} */ ([["sent", this.#sent], ["waiting", this.#waiting]])) {
      const p = of.get(id);
      if (!p) continue;
      if (p.call !== call) return undefined;
      of.delete(id);
      this.#size -= p.text.length + OVERHEAD;
      return where;
    }
    return undefined;
  }

  /** The end of the connection: what was sent and is not to be sent again is forgotten and returned; the rest waits again. */
  dropped() {
    const forgotten = [...this.#sent.values()].filter((p) => p.once);
    for (const p of forgotten) this.settle(p.id, p.call);
    this.#waiting = new Map([...this.#sent, ...this.#waiting]);
    this.#sent = new Map();
    return forgotten;
  }

  /** Forgets and returns all. */
  takeAll() {
    const all = [...this.#sent.values(), ...this.#waiting.values()];
    this.#sent.clear();
    this.#waiting.clear();
    this.#size = 0;
    return all;
  }

  /** What may be sent now, which counts as sent then. */
  *send() {
    for (const [id, p] of this.#waiting) {
      if (this.#sent.size >= MAX_IN_FLIGHT) return;
      this.#waiting.delete(id);
      this.#sent.set(id, p);
      yield p.text;
    }
  }
}

/** What the client asks and gets an answer to, over breaks, and what it feeds. */
export class Requests {
  /** How long after the last login or renewal the credentials end, in ms; 0 when they do not. */
  lifetime = 0;

  #pending;
  /** @type {Map<string, import("./protocol.js").Source>} */
  #sources = new Map();
  #renewal = 0; // the id of the renewal that has no answer yet
  #linked = false;
  #emit;
  #send;

  /** @param {number | undefined} most  that wait @param {(e: Event) => void} emit @param {(text: string) => void} send */
  constructor(most, emit, send) {
    this.#pending = new Pendings(most);
    this.#emit = emit;
    this.#send = send;
  }

  /**
   * @param {string} path
   * @param {{kind?: import("./protocol.js").SubjectKind, data?: any, fields?: import("./protocol.js").Fields, patch?: import("./protocol.js").Fields,
   *          time?: number, ttl?: number}} what
   */
  publish(path, { kind, data, fields, patch, time, ttl }) {
    const k = kind ?? (fields ? "record" : patch ? "json" : "log");
    const payload = k === "record" ? { fields: fields ?? {} } : k === "json" && patch ? { patch } : { data: data ?? null };
    for (const part of [payload.fields, payload.patch]) {
      const object = part === undefined || (typeof part === "object" && part !== null && !Array.isArray(part));
      if (!object) throw new ReasonError(`publish ${JSON.stringify(path)}`, reason("bad_request", "want a JSON object"));
    }
    return this.#ask("publish", path, (id) => ({ t: "publish", id, path, kind: k, ...payload, ...(time === undefined ? {} : { time }), ...(ttl ? { ttl } : {}) }));
  }

  /** @param {string} name @param {any} [data] @param {{timeout?: number, resend?: boolean}} [options] */
  call(name, data, { timeout, resend } = {}) {
    return this.#ask("call", name, (id) => ({ t: "call", id, name, ...(data === undefined ? {} : { data }), ...(timeout ? { timeout } : {}) }), !resend);
  }

  /** @param {number} id @returns {boolean} the server is to be told */
  cancel(id) {
    const sent = this.#pending.settle(id, true) === "sent";
    this.#sendPending();
    return sent;
  }

  /** @param {string} path @param {{required?: boolean, priority?: number}} [options] */
  source(path, { required, priority } = {}) {
    checkPath("source", path);
    /** @type {import("./protocol.js").Source} */
    const m = { t: "source", path, on: true, ...(required === false ? { required } : {}), ...(priority ? { priority } : {}) };
    this.#sources.delete(path);
    this.#sources.set(path, m);
    if (this.#linked) this.#send(JSON.stringify(m));
  }

  /** @param {string} path */
  sourceEnded(path) {
    return this.#sources.delete(path);
  }

  /** @param {string} token */
  renew(token) {
    this.#renewal = this.#pending.nextID();
    this.#send(JSON.stringify({ t: "token", id: this.#renewal, token }));
  }

  /** @param {import("./protocol.js").Welcome} m */
  welcomed(m) {
    this.#linked = true;
    this.lifetime = lifetime(m);
    for (const source of this.#sources.values()) this.#send(JSON.stringify(source));
    this.#sendPending();
  }

  /** What a request with an id gets; more may be sent then. @param {import("./protocol.js").Ack | import("./protocol.js").ErrorMessage | import("./protocol.js").Result} m */
  answer(m) {
    if (m.t === "error" && !m.id) return this.#emit(m);
    const id = m.id ?? 0;
    if (this.#pending.settle(id, true)) this.#emit({ ...m, t: "result", id }); // an error, too, is its result
    else if (m.t !== "result" && this.#pending.settle(id, false)) this.#emit(m);
    else if (m.t === "result" && id === this.#renewal) this.#renewed(m);
    this.#sendPending();
  }

  /** @param {import("./protocol.js").Result} m */
  #renewed({ id, expires, at, reason: r }) {
    this.#renewal = 0;
    if (!r) this.lifetime = lifetime({ expires, at });
    this.#emit({ t: "renewed", id, ...(expires === undefined ? {} : { expires }), ...(r ? { reason: r } : {}) });
  }

  /** The end of a connection, or a move to another: calls that are not to be sent again have failed. */
  dropped() {
    this.#linked = false;
    this.lifetime = 0;
    for (const p of this.#pending.dropped()) this.#unanswered(p);
  }

  /** The end of the session: nothing gets an answer any more. */
  end() {
    this.#sources.clear();
    for (const p of this.#pending.takeAll()) this.#unanswered(p);
  }

  /** Tells of a request whose fate is not known. @param {Pending} p */
  #unanswered({ id, path, call }) {
    const r = reason("lost", "the connection was lost");
    this.#emit(call ? { t: "result", id, reason: r } : { t: "error", id, path, reason: r });
  }

  /**
   * @param {"publish" | "call"} verb @param {string} path @param {(id: number) => ClientMessage} make @param {boolean} [once]  not to be sent again
   * @returns {number} the id
   */
  #ask(verb, path, make, once = false) {
    const what = `${verb} ${JSON.stringify(path)}`;
    this.#pending.checkRoom(what);
    let text;
    try {
      text = JSON.stringify(make(this.#pending.next));
    } catch (e) {
      throw new ReasonError(what, reason("bad_request", `not JSON: ${/** @type {Error} */ (e).message}`));
    }
    const bytes = text.length * 3 > MAX_MESSAGE ? byteLength(text) : 0;
    if (bytes > MAX_MESSAGE) throw new ReasonError(what, reason("too_big", `got ${bytes} bytes, want at most ${MAX_MESSAGE}`));
    const id = this.#pending.nextID();
    this.#pending.add({ id, path, text, call: verb === "call", once });
    this.#sendPending();
    return id;
  }

  /** Sends what waits, as far as it may. */
  #sendPending() {
    if (this.#linked) for (const text of this.#pending.send()) this.#send(text);
  }
}

/** How long credentials hold, by the server's clock; 0 when they have no end, and never less than nothing. @param {{expires?: number, at?: number}} m */
function lifetime({ expires, at }) {
  return expires ? Math.max(expires - (at ?? expires), 1) : 0;
}
