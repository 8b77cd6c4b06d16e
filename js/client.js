import { ReasonError, reason } from "./reasons.js";
import { light } from "./states.js";
import { Driver } from "./driver.js";
import { checkPath } from "./follow.js";
import { History } from "./history.js";
import { filled } from "./options.js";
import { Play, Signals, Source, Subject, Subscription, guard } from "./subscription.js";

/**
 * @typedef {import("./reasons.js").Reason} Reason
 * @typedef {import("./machine.js").SubjectEvent} SubjectEvent
 * @typedef {import("./machine.js").Start} Start
 * @typedef {import("./subscription.js").PlayMessage} PlayMessage
 * @typedef {import("./options.js").ClientOptions} ClientOptions
 * @typedef {import("./subscription.js").Queue<ClientEvent>} Events
 *
 * What happened, as one flat record like the server's: kinds are "state" (from, state, server, transport, attempt, delay), "transport" (from: the session goes on
 * over another one, without a break), "moved" (from: on another server, without a break), "status", "gap", "media", "switch" (path, from, transport, detail: a player goes from
 * WebSocket media to WebRTC or back, and why), "ice" (path, from: "browser" or "server", detail: how that end sees the WebRTC connection now), "ladder" (path, detail: what keeps a player from WebRTC; delay: until it is tried again, if it is), "error" and "drain".
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
 * @property {number} [attempt]  counts from 1 since the last login
 * @property {number} [delay]  ms until the next attempt
 */

/**
 * A session with one server out of a list, kept over reconnects: data and media down one line.
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

  #driver;
  /** @type {History<ClientEvent>} */
  #events;
  /** @type {History<ClientEvent>} */
  #states;
  #seq = 0;
  /** @type {Map<string, Subject>} */
  #subjects = new Map();
  /** @type {Map<string, Play>} */
  #plays = new Map();
  /** @type {Map<string, Source>} */
  #sources = new Map();
  /** @type {Set<Signals>} */
  #signals = new Set();
  /** What publish and call wait for, by id. @type {Map<number, {what: string, resolve: (answer: any) => void, reject: (e: Error) => void}>} */
  #requests = new Map();
  /** @type {{promise: Promise<void>, resolve: () => void, reject: (e: Error) => void} | undefined} */
  #ready;

  /** @param {ClientOptions | string} [options]  or the address of the server */
  constructor(options = {}) {
    const o = filled(options);
    this.#events = new History(o.history);
    this.#states = new History(o.stateHistory);
    this.#driver = new Driver(o, {
      state: (change) => this.#entered(change),
      event: (event) => this.#event(event),
      fragment: (media) => this.#plays.get(media.path)?.deliver({ t: "fragment", ...media }),
      note: (what) => this.#note(what),
    });
  }

  /** The state's word, of states.js. */
  get state() {
    return this.#driver.machine.state;
  }

  /** red, amber or green. */
  get light() {
    return light(this.state);
  }

  /** The last events, oldest first. */
  get log() {
    return this.#events.kept;
  }

  /** The address of the attempt or session; "" before the first. */
  get server() {
    return this.#driver.server;
  }

  /** What carries the session, or is to carry it: websocket, events or poll. */
  get transport() {
    return this.#driver.transport;
  }

  /** The attempt, counted from 1 since the last login. */
  get attempt() {
    return this.#driver.attempt;
  }

  /** Bytes and messages received since the start. */
  get received() {
    return this.#driver.received;
  }

  /** The session's name; "" before the first welcome. */
  get session() {
    return this.#driver.machine.session;
  }

  /** Who the server says this client is; "" before the first welcome and without authentication. */
  get user() {
    return this.#driver.machine.user;
  }

  /** What the server said of itself at the last login. */
  get welcome() {
    return this.#driver.machine.welcome;
  }

  /** The shortest round trip of the last ten, in ms; undefined before the first. */
  get rtt() {
    return this.#driver.heartbeat.rtt;
  }

  /** How much a round trip differs from the one before it, on average over the last ten, in ms; undefined before the second. */
  get jitter() {
    return this.#driver.heartbeat.jitter;
  }

  /** The server's clock less ours, in ms, by the exchange with the shortest round trip. */
  get clockOffset() {
    return this.#driver.heartbeat.offset;
  }

  /**
   * Asks the server for a sign of life now, because something else says that the network may be gone. Without one within 3 s the connection is given up and another one is made. It does nothing
   * while there is no session, and may be called often.
   */
  check() {
    this.#driver.heartbeat.doubt();
  }

  /**
   * Connects, and stays connected until disconnect is called or the server refuses or ejects this client for good.
   * @returns {Promise<void>} settled at the first login, or with a ReasonError when there will be none
   */
  connect() {
    if (!this.#ready) {
      this.#ready = deferred();
      this.#driver.start();
    }
    return /** @type {{promise: Promise<void>}} */ (this.#ready).promise;
  }

  /** Ends the session and all subscriptions. */
  disconnect() {
    this.#driver.do((m) => m.disconnect());
  }

  /** Makes the next attempt at once instead of after the back-off. */
  retry() {
    this.#driver.retry();
  }

  /** Freezes the session: nothing is handed out until resume, and nothing is lost that the server keeps. @throws {ReasonError} unless the state is logged_in */
  pause() {
    this.#driver.do((m) => m.pause());
    if (this.state !== "paused") throw new ReasonError("pause", reason("bad_request", `the client is ${this.state}`));
  }

  /** Ends a pause. Where the connection broke meanwhile the client connects again. */
  resume() {
    this.#driver.do((m) => m.resume());
  }

  /**
   * Waits for a state.
   * @param {string} state
   * @param {{signal?: AbortSignal}} [options]
   * @returns {Promise<void>} settled as soon as the client is in it, at once if it is; rejected with a ReasonError when the client is or becomes disconnected, with
   *   what the signal says when that ends the wait
   */
  until(state, { signal } = {}) {
    if (this.state === state) return Promise.resolve();
    if (this.state === "disconnected") return Promise.reject(new ReasonError(`until ${state}`, reason("lost", "not connected")));
    return new Promise((resolve, reject) => {
      const after = this.#seq;
      const stop = this.observe((e) => {
        if (e.seq < after || (e.state !== state && e.state !== "disconnected")) return;
        end();
        if (e.state === state) resolve();
        else reject(new ReasonError(`until ${state}`, e.reason ?? reason("done")));
      });
      const aborted = () => {
        end();
        reject(signal?.reason);
      };
      const end = () => {
        stop();
        signal?.removeEventListener("abort", aborted);
      };
      signal?.addEventListener("abort", aborted);
      if (signal?.aborted) aborted();
    });
  }

  /**
   * Tells each change of state in order, those of the past first, as far back as `stateHistory` goes. Any number may observe.
   * @param {(e: ClientEvent) => void} onchange @returns {() => void} ends it
   */
  observe(onchange) {
    return this.#states.observe(onchange);
  }

  /** The changes of state, those of the past first, and then each one as it happens. @returns {Events} */
  states() {
    return this.#states.iterate();
  }

  /** The events, as far back as `log` has them, and then each one as it happens. @returns {Events} */
  events() {
    return this.#events.iterate();
  }

  /**
   * Follows the data of a path, over reconnects: every message once and in order, and what was lost is told.
   * Several subscriptions to one path share one on the line; those that join later start with what is known then.
   * @param {string} path
   * @param {((message: SubjectEvent) => void) | null} [onmessage]
   * @param {Start} [start]  from a snapshot, unless said otherwise: `{from: "history", count: 50}`, `{rate: 2, fields: ["bid"]}`, `{window: {start: 0, count: 20}}`
   * @returns {Subscription}
   * @throws {ReasonError} the path makes no sense, or is followed by this client with another rate, other fields or another window
   */
  subscribe(path, onmessage, start) {
    const { rate, fields, window } = start ?? {};
    const want = JSON.stringify({ rate: rate ?? undefined, fields, window });
    let subject = this.#subjects.get(path);
    const joins = subject !== undefined;
    if (subject && start && subject.want !== want) throw new ReasonError(`subscribe ${JSON.stringify(path)}`, reason("bad_request", "followed in another way already"));
    if (!subject) {
      this.#driver.do((m) => m.subscribe(path, start));
      subject = new Subject(want);
      this.#subjects.set(path, subject);
    }
    const known = subject;
    const leave = () => {
      known.subscriptions.delete(subscription);
      if (known.subscriptions.size > 0 || this.#subjects.get(path) !== known) return;
      this.#subjects.delete(path);
      this.#driver.do((m) => m.unsubscribe(path));
    };
    const subscription = new Subscription(path, onmessage ?? undefined, known, leave, (r) => this.#driver.do((m) => m.throttle(path, r)));
    known.subscriptions.add(subscription);
    const snapshot = joins ? known.snapshot(path, window !== undefined) : undefined;
    if (snapshot) queueMicrotask(() => subscription.ended || subscription.deliver(snapshot));
    return subscription;
  }

  /**
   * Publishes data on a path: as soon as the client is logged in, and again after a break, but never twice.
   * @param {string} path
   * @param {any} data  any JSON; with kind "record" an object of the fields that change, null to remove one; with kind "json" the document or, with patch, a merge patch of it
   * @param {{kind?: import("./protocol.js").SubjectKind, patch?: boolean, time?: number, ttl?: number}} [options]  time is media time in ms; ttl: the subject is removed when
   *   nothing was published on it for so many ms
   * @returns {Promise<import("./protocol.js").Ack>} settled by the server's word. Rejected with a ReasonError by the server, at once where path or data make no sense or
   *   too much waits, and with "lost" at the end of the session, when the data may have been published nevertheless
   */
  async publish(path, data, { kind, patch, time, ttl } = {}) {
    const what = kind === "record" ? { fields: data } : patch ? { patch: data } : { data };
    return this.#ask(`publish ${JSON.stringify(path)}`, (m) => m.publish(path, { kind: patch ? "json" : kind, time, ttl, ...what })).promise;
  }

  /**
   * Asks the server's application to do something.
   * @param {string} name  a path @param {any} [data]  any JSON
   * @param {{timeout?: number, resend?: boolean, signal?: AbortSignal}} [options]  timeout in ms; resend: again after a break (the server does it once), otherwise the call
   *   has failed with "lost" then; signal calls it off
   * @returns {Promise<any>} what the server answers; rejected with a ReasonError of the server, "timeout", or what the signal says
   */
  async call(name, data, { timeout, resend, signal } = {}) {
    signal?.throwIfAborted();
    const what = `call ${JSON.stringify(name)}`;
    const { id, promise } = this.#ask(what, (m) => m.call(name, data, { timeout, resend }));
    const off = (/** @type {Error} */ e) => {
      const request = this.#requests.get(id);
      this.#requests.delete(id);
      if (request) this.#driver.do((m) => m.cancel(id));
      request?.reject(e);
    };
    const aborted = () => off(signal?.reason);
    const timer = timeout ? setTimeout(() => off(new ReasonError(what, reason("timeout", `no result within ${timeout} ms`))), timeout) : undefined;
    signal?.addEventListener("abort", aborted);
    try {
      return (await promise).data;
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener("abort", aborted);
    }
  }

  /** @param {string} what @param {(m: import("./machine.js").Machine) => number} make  @returns {{id: number, promise: Promise<any>}} */
  #ask(what, make) {
    let id = 0;
    /** @type {Promise<any>} */
    let promise = Promise.resolve();
    this.#driver.do((m) => {
      id = make(m);
      promise = new Promise((resolve, reject) => this.#requests.set(id, { what, resolve, reject }));
    });
    return { id, promise };
  }

  /**
   * Says that this client feeds a path and all below it, until the source is closed: the server tells what is wanted there, and marks what it fed as stale (limited,
   * unless required) when it has gone.
   * @param {string} path
   * @param {{required?: boolean, priority?: number, onwanted?: (path: string, on: boolean) => void}} [options]
   * @returns {Source}
   * @throws {ReasonError} the path makes no sense or this client feeds it already
   */
  source(path, { required, priority, onwanted } = {}) {
    if (this.#sources.has(path)) throw new ReasonError(`source ${JSON.stringify(path)}`, reason("bad_request", "there is one already"));
    this.#driver.do((m) => m.source(path, { required, priority }));
    const source = new Source(path, onwanted && ((m) => onwanted(m.path, m.on)), () => {
      if (this.#sources.get(path) !== source) return;
      this.#sources.delete(path);
      this.#driver.do((m) => m.sourceEnded(path));
    });
    this.#sources.set(path, source);
    return source;
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
    this.#driver.do((m) => m.play(path, options.resume));
    const play = new Play(path, onmessage ?? undefined, () => {
      if (this.#plays.get(path) !== play) return;
      this.#plays.delete(path);
      this.#driver.do((m) => m.stop(path));
    });
    this.#plays.set(path, play);
    return play;
  }

  /**
   * The signals of WebRTC about a path, as they come and go: Player and Publisher use them.
   * @param {string} path @param {((message: import("./protocol.js").Signal) => void) | null} [onmessage]
   * @returns {Signals}
   * @throws {ReasonError} the path makes no sense
   */
  signals(path, onmessage) {
    checkPath("signals", path);
    const signals = new Signals(path, onmessage ?? undefined, () => this.#signals.delete(signals), (data) => this.#driver.do((m) => m.signal(path, data)));
    this.#signals.add(signals);
    return signals;
  }

  /** @param {import("./machine.js").StateOut & {delay?: number}} o */
  #entered({ from, to, reason: why, delay }) {
    if (to === "disconnected") this.#stopped(why ?? reason("done"));
    if (to === "logged_in" && from !== "paused") {
      for (const subject of this.#subjects.values()) subject.status = "ok"; // until the server says otherwise
      for (const source of this.#sources.values()) source.wanted.clear();
    }
    this.#note({ kind: "state", from, state: to, reason: why, attempt: this.attempt, delay });
    if (to === "logged_in") this.#ready?.resolve();
  }

  /** @param {Reason} why */
  #stopped(why) {
    this.#ready?.reject(new ReasonError(`hawser: ${this.server}`, why));
    this.#ready = undefined;
    for (const subject of this.#subjects.values()) for (const s of subject.subscriptions) s.end();
    for (const of of [this.#plays, this.#sources, this.#signals]) for (const handle of of.values()) handle.end();
    for (const map of [this.#subjects, this.#plays, this.#sources, this.#signals]) map.clear();
  }

  /** @param {import("./machine.js").Event} m */
  #event(m) {
    switch (m.t) {
      case "ack":
      case "result":
        return this.#answer(m.id, m, m.t === "result" ? m.reason : undefined);
      case "error":
        if (m.id) this.#answer(m.id, m, m.reason);
        return this.#note({ kind: "error", path: m.path, reason: m.reason });
      case "media":
        return this.#media(m);
      case "wanted":
        return this.#wanted(m);
      case "signal":
        return [...this.#signals].forEach((s) => s.path === m.path && s.deliver(m));
      case "snapshot":
      case "update":
      case "window":
      case "gap":
      case "status":
        return this.#subject(m);
    }
  }

  /** @param {number} id @param {any} answer @param {Reason} [r] */
  #answer(id, answer, r) {
    const request = this.#requests.get(id);
    this.#requests.delete(id);
    if (r) request?.reject(new ReasonError(request.what, r));
    else request?.resolve(answer);
  }

  /** @param {SubjectEvent} m */
  #subject(m) {
    const subject = this.#subjects.get(m.path);
    if (!subject) return;
    subject.apply(m);
    const final = m.t === "status" && (m.status === "refused" || m.status === "removed");
    if (final) this.#subjects.delete(m.path);
    if (m.t === "status") this.#note({ kind: "status", path: m.path, reason: m.reason, detail: m.status });
    if (m.t === "gap") this.#note({ kind: "gap", path: m.path, detail: lost(m) });
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
    this.#note({ kind: "media", path: m.path, reason: m.reason, detail });
    play.deliver(m);
    if (m.status === "gone") play.end();
  }

  /** Tells the sources that feed a path. @param {import("./protocol.js").WantedPath} m */
  #wanted(m) {
    for (const [path, source] of this.#sources) {
      if (m.path !== path && !m.path.startsWith(path + "/")) continue;
      if (m.on) source.wanted.add(m.path);
      else source.wanted.delete(m.path);
      source.deliver(m);
    }
  }

  /** Adds to the log what is done for the application by others than this object. @param {Omit<ClientEvent, "seq" | "time" | "light"> & {light?: import("./states.js").Light}} what @internal */
  note(what) {
    this.#note(what);
  }

  /** @param {Omit<ClientEvent, "seq" | "time" | "light"> & {light?: import("./states.js").Light}} what */
  #note(what) {
    const place = ["state", "transport", "moved"].includes(what.kind) ? { server: this.server, transport: this.transport } : {};
    /** @type {ClientEvent} */
    const e = { seq: this.#seq++, time: new Date(), light: this.light, ...place, ...what };
    if (e.state) e.light = light(e.state);
    if (e.state) this.#states.add(e);
    this.#events.add(e);
    if (e.state) guard(this.onstate, e);
    guard(this.onevent, e);
  }
}

/** @param {import("./machine.js").Gap} m */
function lost(m) {
  return m.to === undefined ? "an unknown number of updates lost: the subject began anew" : `${m.to - m.from} updates lost, from offset ${m.from}`;
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
