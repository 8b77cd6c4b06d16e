import { SUBPROTOCOL } from "./protocol.js";
import { ReasonError, reason } from "./reasons.js";
import { light } from "./states.js";
import { Machine } from "./machine.js";
import { Heartbeat } from "./heartbeat.js";
import { Play, Queue, Subject, Subscription, guard } from "./subscription.js";

/**
 * @typedef {import("./reasons.js").Reason} Reason
 * @typedef {import("./machine.js").SubjectEvent} SubjectEvent
 * @typedef {import("./subscription.js").PlayMessage} PlayMessage
 *
 * @typedef {object} ClientOptions  what is left out takes the default
 * @property {string | string[]} [servers]  WebSocket addresses, tried one after the other; in a page, /session of the page's own host
 * @property {string} [token]  the credential
 * @property {string} [name]  of the software, for the server's log: "hawser-js/0.1"
 * @property {number} [backoffMin]  the first attempt after a failure waits between 0 and so many ms, each further one up to twice as long: 500
 * @property {number} [backoffMax]  no attempt waits longer, in ms: 30,000
 * @property {number} [stable]  a session that stood so long, in ms, starts the back-off anew: 10,000
 * @property {number} [loginTimeout]  for an attempt up to the welcome, in ms: 10,000
 * @property {number} [history]  how many events `log` keeps: 200
 * @property {WebSocketClass} [WebSocket]  the browser's
 * @property {() => number} [random]  from 0 to 1, for the back-off: Math.random
 *
 * @typedef {{new (url: string, protocols: string): WebSocket}} WebSocketClass
 *
 * What happened, as one flat record like the server's: kinds are "state" (from, state, server, transport, attempt, delay), "status",
 * "gap", "media", "error" and "drain".
 * @typedef {object} ClientEvent
 * @property {number} seq  counts from 0
 * @property {Date} time
 * @property {string} kind
 * @property {import("./states.js").Light} light  after the event
 * @property {string} [path]
 * @property {string} [from]
 * @property {string} [state]
 * @property {Reason} [reason]
 * @property {string} [detail]  for people
 * @property {string} [server]
 * @property {string} [transport]
 * @property {number} [attempt]  counts from 1 since a session last stood
 * @property {number} [delay]  ms until the next attempt
 */

const DEFAULTS = {
  name: "hawser-js/0.1",
  token: "",
  backoffMin: 500,
  backoffMax: 30_000,
  stable: 10_000,
  loginTimeout: 10_000,
  history: 200,
  random: Math.random,
};

/**
 * A session with one server out of a list, kept over reconnects: data and media down one WebSocket.
 *
 *     const client = new Client();
 *     client.onstate = (e) => console.log(e.state, e.light, e.reason?.text ?? "");
 *     client.connect();
 *     for await (const m of client.subscribe("/fx/EURUSD")) console.log(m.t, m);
 */
export class Client {
  /** Called after each change of state. @type {((e: ClientEvent) => void) | undefined} */
  onstate;
  /** Called with each event, changes of state among them. @type {((e: ClientEvent) => void) | undefined} */
  onevent;
  /** The last events, oldest first. @type {ClientEvent[]} */
  log = [];
  /** The address of the attempt or session; "" before the first. */
  server = "";
  /** What carries the session. */
  transport = "websocket";
  /** The attempt, counted from 1 since a session last stood. */
  attempt = 0;
  /** Bytes and messages received since the start. */
  received = { bytes: 0, messages: 0 };

  #o;
  #machine;
  /** @type {WebSocket | undefined} */
  #ws;
  #running = false;
  #next = 0; // index of the next server
  #seq = 0;
  /** @type {Map<string, ReturnType<typeof setTimeout>>} */
  #timers = new Map();
  #heartbeat = new Heartbeat(
    () => {
      let id = 0;
      this.#do((m) => (id = m.ping()));
      return id;
    },
    () => this.#do((m) => m.giveUp(reason("timeout"))),
  );
  /** @type {Map<string, Subject>} */
  #subjects = new Map();
  /** @type {Map<string, Play>} */
  #plays = new Map();
  /** @type {Map<number, {resolve: (ack: import("./protocol.js").Ack) => void, reject: (e: Error) => void}>} */
  #publishes = new Map();
  /** @type {Set<{queue: Queue<ClientEvent>, kind: string}>} */
  #watchers = new Set();
  /** @type {{promise: Promise<void>, resolve: () => void, reject: (e: Error) => void} | undefined} */
  #ready;

  /** @param {ClientOptions | string} [options]  or the address of the server */
  constructor(options = {}) {
    const o = typeof options === "string" ? { servers: options } : options;
    const given = Object.fromEntries(Object.entries(o).filter(([, v]) => v !== undefined));
    const servers = [o.servers ?? defaultServer()].flat();
    this.#o = { ...DEFAULTS, WebSocket: globalThis.WebSocket, ...given, servers };
    if (servers.length === 0 || servers.some((s) => !/^wss?:\/\//.test(s))) throw new RangeError(`hawser: servers ${JSON.stringify(servers)}: want ws:// or wss:// addresses`);
    if (!this.#o.WebSocket) throw new Error("hawser: there is no WebSocket here; give one in the options");
    this.#machine = new Machine({ client: this.#o.name, token: this.#o.token });
  }

  /** The state's word, of states.js. */
  get state() {
    return this.#machine.state;
  }

  /** red, amber or green. */
  get light() {
    return light(this.#machine.state);
  }

  /** The session's name; "" before the first welcome. */
  get session() {
    return this.#machine.session;
  }

  /** What the server said of itself at the last login. */
  get welcome() {
    return this.#machine.welcome;
  }

  /** The shortest round trip of the last ten, in ms; undefined before the first. */
  get rtt() {
    return this.#heartbeat.rtt;
  }

  /** The server's clock less ours, in ms, by the exchange with the shortest round trip. */
  get clockOffset() {
    return this.#heartbeat.offset;
  }

  /**
   * Connects, and stays connected until disconnect is called or the server refuses or ejects this client for good.
   * @returns {Promise<void>} settled at the first login, or with a ReasonError when there will be none
   */
  connect() {
    if (!this.#ready) {
      this.#ready = deferred();
      this.attempt = 0;
      this.#network(true);
      this.#do((m) => m.connect());
    }
    return this.#ready.promise;
  }

  /** Ends the session and all subscriptions. */
  disconnect() {
    this.#do((m) => m.disconnect());
  }

  /** Makes the next attempt at once instead of after the back-off. */
  retry() {
    this.#do((m) => m.retry());
  }

  /**
   * Follows the data of a path, over reconnects: every message once and in order, and what was lost is told.
   * Several subscriptions to one path share one on the line; those that join later start with what is known then.
   * @param {string} path
   * @param {((message: SubjectEvent) => void) | null} [onmessage]
   * @param {import("./machine.js").Start} [start]  from a snapshot, unless said otherwise
   * @returns {Subscription}
   * @throws {ReasonError} the path makes no sense
   */
  subscribe(path, onmessage, start) {
    let subject = this.#subjects.get(path);
    const joins = subject !== undefined;
    if (!subject) {
      this.#do((m) => m.subscribe(path, start));
      subject = new Subject();
      this.#subjects.set(path, subject);
    }
    const known = subject;
    const subscription = new Subscription(path, onmessage ?? undefined, known, () => {
      known.subscriptions.delete(subscription);
      if (known.subscriptions.size > 0 || this.#subjects.get(path) !== known) return;
      this.#subjects.delete(path);
      this.#do((m) => m.unsubscribe(path));
    });
    known.subscriptions.add(subscription);
    const snapshot = joins ? known.snapshot(path) : undefined;
    if (snapshot) queueMicrotask(() => subscription.ended || subscription.deliver(snapshot));
    return subscription;
  }

  /**
   * Publishes data on a path.
   * @param {string} path
   * @param {any} data  any JSON; with kind "record" an object of the fields that change, null to remove one
   * @param {{kind?: "log" | "record", time?: number}} [options]  time is media time in ms
   * @returns {Promise<import("./protocol.js").Ack>} rejected with a ReasonError; when its word is "lost", the data may have been published nevertheless
   */
  async publish(path, data, options = {}) {
    let id = 0;
    const what = options.kind === "record" ? { ...options, fields: data } : { ...options, data };
    this.#do((m) => (id = m.publish(path, what)));
    return new Promise((resolve, reject) => this.#publishes.set(id, { resolve, reject }));
  }

  /**
   * Asks for the media of a path, over reconnects. Player does this for a video element.
   * @param {string} path
   * @param {((message: PlayMessage) => void) | null} [onmessage]
   * @param {{resume?: boolean}} [options]  resume: after a reconnect go on at the next frame instead of the newest keyframe
   * @returns {Play}
   * @throws {ReasonError} the path makes no sense or is played already
   */
  play(path, onmessage, options = {}) {
    this.#do((m) => m.play(path, options.resume));
    const play = new Play(path, onmessage ?? undefined, () => {
      if (this.#plays.get(path) !== play) return;
      this.#plays.delete(path);
      this.#do((m) => m.stop(path));
    });
    this.#plays.set(path, play);
    return play;
  }

  /** The changes of state, as far back as `log` has them, and then each one as it happens. @returns {Queue<ClientEvent>} */
  states() {
    return this.#watch("state", this.log.filter((e) => e.kind === "state"));
  }

  /** The events, as far back as `log` has them, and then each one as it happens. @returns {Queue<ClientEvent>} */
  events() {
    return this.#watch("", this.log);
  }

  /** @param {string} kind @param {ClientEvent[]} past */
  #watch(kind, past) {
    /** @type {{queue: Queue<ClientEvent>, kind: string}} */
    const watcher = { kind, queue: new Queue(() => this.#watchers.delete(watcher)) };
    for (const e of past) watcher.queue.push(e);
    this.#watchers.add(watcher);
    return watcher.queue;
  }

  /** Tells the machine something, and does what it says; what callbacks ask meanwhile comes after. @param {(m: Machine) => void} tell */
  #do(tell) {
    tell(this.#machine);
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.#machine.out.length > 0) for (const o of this.#machine.out.splice(0)) this.#output(o);
    } finally {
      this.#running = false;
    }
  }

  /** @param {import("./machine.js").Output} o */
  #output(o) {
    if (o.do === "send") this.#ws?.send(JSON.stringify(o.message));
    else if (o.do === "close") this.#hangUp(o.reason);
    else if (o.do === "state") this.#entered(o);
    else if (o.do === "fragment") this.#plays.get(o.media.path)?.deliver({ t: "fragment", ...o.media });
    else this.#event(o.event);
  }

  /** @param {import("./machine.js").StateOut} o */
  #entered({ from, to, reason: why }) {
    let delay;
    if (to === "connecting") this.#dial();
    else if (to === "logged_in") this.#loggedIn();
    else if (to === "failed" || to === "lost" || to === "unreachable") delay = this.#backOff();
    else if (to === "disconnected") this.#stopped(why ?? reason("done"));
    const { server, transport, attempt } = this;
    this.#tell({ kind: "state", from, state: to, light: light(to), reason: why, server, transport, attempt, delay });
    if (to === "logged_in") this.#ready?.resolve();
  }

  #dial() {
    this.attempt++;
    this.server = this.#o.servers[this.#next % this.#o.servers.length];
    let ws;
    try {
      ws = new this.#o.WebSocket(this.server, SUBPROTOCOL);
    } catch (e) {
      queueMicrotask(() => this.#do((m) => m.broken(reason("lost", String(e)))));
      return;
    }
    this.#ws = ws;
    ws.binaryType = "arraybuffer";
    const mine = (/** @type {(m: Machine) => void} */ tell) => void (this.#ws === ws && this.#do(tell));
    ws.onopen = () => mine((m) => m.opened());
    ws.onmessage = (e) => this.#ws === ws && this.#received(e.data);
    ws.onclose = (e) => mine((m) => m.closed(e.code, e.reason));
    ws.onerror = () => {}; // close follows
    this.#timer("login", this.#o.loginTimeout, () => {
      this.#do((m) => m.giveUp(reason("timeout", "no answer to the login")));
      if (this.#ws !== ws) return;
      this.#hangUp(reason("timeout"));
      this.#do((m) => m.broken(reason("timeout", "no connection in time")));
    });
  }

  /** @param {string | ArrayBuffer} data */
  #received(data) {
    this.received.messages++;
    this.received.bytes += typeof data === "string" ? data.length : data.byteLength;
    this.#do((m) => m.receive(data));
    this.#heartbeat.heard();
  }

  /** Leaves the WebSocket; nothing that it still says counts. @param {Reason} r */
  #hangUp(r) {
    const ws = this.#ws;
    this.#ws = undefined;
    if (ws) ws.onopen = ws.onmessage = ws.onclose = null;
    ws?.close(r.code, r.word);
  }

  #loggedIn() {
    this.#clear("login");
    this.#timer("stable", this.#o.stable, () => (this.attempt = 0));
    this.#heartbeat.start(this.#machine.welcome?.heartbeat ?? 0);
  }

  /** Plans the next attempt, at the next server. @returns {number} ms */
  #backOff() {
    this.#leave();
    this.#next++;
    const most = Math.min(this.#o.backoffMax, this.#o.backoffMin * 2 ** Math.max(0, this.attempt - 1));
    const delay = this.#o.random() * most;
    this.#timer("retry", delay, () => this.retry());
    return delay;
  }

  /** The connection, if any, is no longer used. */
  #leave() {
    this.#hangUp(reason("done"));
    this.#heartbeat.stop();
    for (const name of [...this.#timers.keys()]) this.#clear(name);
  }

  /** @param {Reason} why */
  #stopped(why) {
    this.#leave();
    this.#network(false);
    this.#ready?.reject(new ReasonError(`hawser: ${this.server}`, why));
    this.#ready = undefined;
    for (const subject of this.#subjects.values()) for (const s of subject.subscriptions) s.end();
    for (const play of this.#plays.values()) play.end();
    this.#subjects.clear();
    this.#plays.clear();
  }

  /** @param {import("./machine.js").Event} m */
  #event(m) {
    switch (m.t) {
      case "ack":
        this.#publishes.get(m.id)?.resolve(m);
        this.#publishes.delete(m.id);
        return;
      case "pong":
        return this.#heartbeat.pong(m);
      case "media":
        return this.#media(m);
      case "error":
        return this.#error(m);
      case "drain":
        return this.#tell({ kind: "drain", light: this.light, reason: m.reason });
      case "snapshot":
      case "update":
      case "gap":
      case "status":
        return this.#subject(m);
    }
  }

  /** @param {SubjectEvent} m */
  #subject(m) {
    const subject = this.#subjects.get(m.path);
    if (!subject) return;
    subject.apply(m);
    const final = m.t === "status" && (m.status === "refused" || m.status === "removed");
    if (final) this.#subjects.delete(m.path);
    if (m.t === "status") this.#tell({ kind: "status", path: m.path, light: this.light, reason: m.reason, detail: m.status });
    if (m.t === "gap") this.#tell({ kind: "gap", path: m.path, light: this.light, detail: lost(m) });
    for (const s of [...subject.subscriptions]) {
      if (!s.ended) s.deliver(m);
      if (final) s.end();
    }
  }

  /** @param {import("./protocol.js").MediaInfo} m */
  #media(m) {
    const play = this.#plays.get(m.path);
    if (!play) return;
    play.info = m;
    if (m.status === "gone") this.#plays.delete(m.path);
    const detail = m.skipped ? `${m.status}, ${m.skipped} frames left out` : m.status;
    this.#tell({ kind: "media", path: m.path, light: this.light, reason: m.reason, detail });
    play.deliver(m);
    if (m.status === "gone") play.end();
  }

  /** @param {import("./protocol.js").ErrorMessage} m */
  #error(m) {
    const publish = this.#publishes.get(m.id ?? 0);
    this.#publishes.delete(m.id ?? 0);
    publish?.reject(new ReasonError(`publish ${JSON.stringify(m.path)}`, m.reason));
    this.#tell({ kind: "error", path: m.path, light: this.light, reason: m.reason });
  }

  /** @param {Omit<ClientEvent, "seq" | "time">} fill */
  #tell(fill) {
    /** @type {ClientEvent} */
    const e = { seq: this.#seq++, time: new Date(), ...fill };
    this.log.push(e);
    if (this.log.length > this.#o.history) this.log.shift();
    for (const w of this.#watchers) if (!w.kind || w.kind === e.kind) w.queue.push(e);
    if (e.kind === "state") guard(this.onstate, e);
    guard(this.onevent, e);
  }

  /** @param {string} name @param {number} ms @param {() => void} f */
  #timer(name, ms, f) {
    this.#clear(name);
    this.#timers.set(name, setTimeout(f, ms));
  }

  /** @param {string} name */
  #clear(name) {
    clearTimeout(this.#timers.get(name));
    this.#timers.delete(name);
  }

  /** Listens, or no longer, to whether the machine has a network. @param {boolean} on */
  #network(on) {
    if (typeof globalThis.addEventListener !== "function" || typeof navigator !== "object") return;
    const set = on ? globalThis.addEventListener : globalThis.removeEventListener;
    set.call(globalThis, "online", this.#online);
    set.call(globalThis, "offline", this.#offline);
  }

  #online = () => this.retry();

  /** A server on this machine needs no network. */
  #offline = () => {
    if (!/^wss?:\/\/(localhost|127\.|\[::1\])/.test(this.server)) this.#do((m) => m.unreachable());
  };
}

/** @param {import("./machine.js").Gap} m */
function lost(m) {
  return m.to === undefined ? "an unknown number of updates lost: the subject began anew" : `${m.to - m.from} updates lost, from offset ${m.from}`;
}

function defaultServer() {
  const at = globalThis.location;
  return at ? `${at.protocol === "https:" ? "wss" : "ws"}://${at.host}/session` : [];
}

/** A promise that may be rejected without anybody listening. */
function deferred() {
  let resolve = () => {}, reject = (/** @type {Error} */ _) => {};
  /** @type {Promise<void>} */
  const promise = new Promise((yes, no) => {
    resolve = yes;
    reject = no;
  });
  promise.catch(() => {});
  return { promise, resolve, reject };
}
