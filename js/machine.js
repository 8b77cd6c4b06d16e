import { VERSION, ProtocolError, parseMessage, parseMedia, pathFault } from "./protocol.js";
import { ReasonError, reason, reasonByCode, reasonFromWire } from "./reasons.js";
import { INITIAL, may } from "./states.js";

/**
 * @typedef {import("./protocol.js").ClientMessage} ClientMessage
 * @typedef {import("./protocol.js").ServerMessage} ServerMessage
 * @typedef {import("./protocol.js").Media} Media
 * @typedef {import("./protocol.js").From} From
 * @typedef {import("./reasons.js").Reason} Reason
 *
 * @typedef {{do: "send", message: ClientMessage}} Send
 * @typedef {{do: "close", reason: Reason}} Close
 * @typedef {{do: "state", from: string, to: string, reason?: Reason}} StateOut
 * @typedef {{do: "event", event: Event}} EventOut
 * @typedef {{do: "fragment", media: Media}} FragmentOut
 * @typedef {Send | Close | StateOut | EventOut | FragmentOut} Output
 *
 * @typedef {import("./protocol.js").Snapshot | import("./protocol.js").Update | import("./protocol.js").Status | Gap} SubjectEvent
 * @typedef {SubjectEvent | import("./protocol.js").Ack | import("./protocol.js").MediaInfo | import("./protocol.js").Ping
 *           | import("./protocol.js").Farewell | import("./protocol.js").ErrorMessage} Event
 *
 * Updates `from` to `to`-1 of a log will not come. Without `to` the subject began a new life (another epoch follows), and
 * how many were lost is not known.
 * @typedef {{t: "gap", path: string, epoch: string, from: number, to?: number}} Gap
 *
 * @typedef {{from?: From, epoch?: string, offset?: number}} Start
 *
 * @typedef {object} Follower  a subscription or a play
 * @property {From | "keyframe"} from  as the application asked
 * @property {boolean} resume  ask for the position after a reconnect
 * @property {boolean} answered  the server answered on this connection
 * @property {string} kind
 * @property {boolean} placed  epoch and next mean something
 * @property {string} epoch  of the last answer
 * @property {number} next  the offset that is wanted next
 */

/**
 * The client's machine of a session. It does no I/O and reads no clock: what the application asks, what happens to the
 * connection and what the server sends come in by its methods; what to send, changes of state and events for the
 * application come out in `out`, in order. The transcripts in session/testdata say what it does, and the Go client's
 * machine does the same.
 */
export class Machine {
  /** What came out; the owner takes and empties it after each call. @type {Output[]} */
  out = [];
  /** The state's word. */
  state = INITIAL;
  /** The session's name, once welcomed. */
  session = "";
  /** The last welcome. @type {import("./protocol.js").Welcome | undefined} */
  welcome;

  #options;
  /** @type {Map<string, Follower>} */
  #subscriptions = new Map();
  /** @type {Map<string, Follower>} */
  #plays = new Map();
  /** Path of each publish that is not acknowledged. @type {Map<number, string>} */
  #pending = new Map();
  #publishes = 0;
  #pings = 0;

  /** @param {{client: string, token?: string}} options  what hello says */
  constructor(options) {
    this.#options = options;
  }

  /** Starts the first attempt, unless one was started before. */
  connect() {
    if (this.state === "disconnected") this.#to("connecting");
  }

  /** Ends everything; subscriptions are removed. */
  disconnect() {
    if (this.state === "disconnected") return;
    if (this.#online()) {
      this.#send({ t: "bye" });
      this.#close(reason("done"));
    }
    this.#disconnected(reason("done"));
  }

  /**
   * Follows the data of a path, now or as soon as the client is logged in, and over reconnects.
   * @param {string} path @param {Start} [start]
   * @throws {ReasonError} the path makes no sense or is followed already
   */
  subscribe(path, start = {}) {
    const f = follower(start.from ?? "snapshot", true);
    if (f.from === "offset") Object.assign(f, { placed: true, epoch: start.epoch, next: start.offset });
    add(this.#subscriptions, "subscribe", path, f);
    if (this.state === "logged_in") this.#ask("subscribe", path, f);
  }

  /** @param {string} path */
  unsubscribe(path) {
    if (this.#subscriptions.delete(path) && this.state === "logged_in") this.#send({ t: "unsubscribe", path });
  }

  /**
   * Asks for the media of a path, now or as soon as the client is logged in, and over reconnects.
   * @param {string} path
   * @param {boolean} [resume]  after a reconnect go on at the frame that is next, where the server has it, not at the newest keyframe
   * @throws {ReasonError} the path makes no sense or is played already
   */
  play(path, resume = false) {
    const f = follower("keyframe", resume);
    add(this.#plays, "play", path, f);
    if (this.state === "logged_in") this.#ask("play", path, f);
  }

  /** @param {string} path */
  stop(path) {
    if (this.#plays.delete(path) && this.state === "logged_in") this.#send({ t: "stop", path });
  }

  /**
   * @param {string} path
   * @param {{kind?: "log" | "record", data?: any, fields?: import("./protocol.js").Fields, time?: number}} what
   * @returns {number} the id that the ack or the error will have
   * @throws {ReasonError} the path makes no sense, or the client is not logged in
   */
  publish(path, what) {
    checkPath("publish", path);
    if (this.state !== "logged_in") throw new ReasonError(`publish ${JSON.stringify(path)}`, reason("lost", "not logged in"));
    const kind = what.kind ?? (what.fields ? "record" : "log");
    const payload = kind === "record" ? { fields: what.fields ?? {} } : { data: what.data ?? null };
    const id = ++this.#publishes;
    this.#pending.set(id, path);
    this.#send({ t: "publish", id, path, kind, ...payload, ...(what.time === undefined ? {} : { time: what.time }) });
    return id;
  }

  /** @returns {number} the id that the pong will have; 0 when the client is not logged in */
  ping() {
    if (this.state !== "logged_in") return 0;
    this.#send({ t: "ping", id: ++this.#pings });
    return this.#pings;
  }

  /** The attempt succeeded: the WebSocket stands. */
  opened() {
    if (this.state !== "connecting") return;
    this.#to("connected");
    /** @type {import("./protocol.js").Hello} */
    const hello = { t: "hello", version: VERSION, client: this.#options.client };
    if (this.#options.token) hello.token = this.#options.token;
    if (this.session) hello.session = this.session;
    this.#send(hello);
  }

  /** The attempt failed, or the connection is gone without a word of the server. @param {Reason} [r] */
  broken(r = reason("lost")) {
    if (this.state === "connecting") this.#to("failed", r);
    if (this.#online()) this.#lost(r);
  }

  /** The connection stands but is to be given up: silence, or a breach of the protocol. @param {Reason} r */
  giveUp(r) {
    if (!this.#online()) return;
    this.#close(r);
    this.#lost(r);
  }

  /** The server closed the WebSocket with a code. @param {number} code @param {string} [text] */
  closed(code, text) {
    const r = reasonByCode(code, text);
    if (r) this.#ended(r);
    else this.broken(reason("lost", text || (code > 1001 && code !== 1006 ? `closed with code ${code}` : undefined)));
  }

  /** The machine has no network. */
  unreachable() {
    const r = reason("lost", "there is no network");
    if (this.state === "connected") this.#lost(r);
    if (may(this.state, "unreachable")) {
      this.#to("unreachable", r);
      this.#dropped();
    }
  }

  /** The back-off is over, or the network is back. */
  retry() {
    if (this.state === "failed" || this.state === "lost" || this.state === "unreachable") this.#to("connecting");
  }

  /** A message of the server came. @param {string | ArrayBuffer | Uint8Array} message */
  receive(message) {
    if (!this.#online()) return;
    try {
      if (typeof message !== "string") this.#receiveMedia(message);
      else if (this.state === "logged_in") this.#receive(parseMessage(message));
      else this.#receiveLogin(parseMessage(message));
    } catch (e) {
      if (!(e instanceof ProtocolError)) throw e;
      this.giveUp(reason("protocol", e.message));
    }
  }

  /** The answer to the hello. @param {ServerMessage} m */
  #receiveLogin(m) {
    if (m.t === "ping") return this.#send({ t: "pong", id: m.id });
    if (m.t === "error" || m.t === "ejected" || m.t === "bye") return this.#endedByWord(m.reason);
    if (m.t !== "welcome") return;
    if (m.version !== VERSION) return this.giveUp(reason("unsupported", `version ${m.version}: this client speaks ${VERSION}`));
    this.welcome = m;
    this.session = m.session;
    if (m.resumed) this.#to("reconnected");
    this.#to("logged_in");
    for (const [path, f] of this.#subscriptions) this.#ask("subscribe", path, f);
    for (const [path, f] of this.#plays) this.#ask("play", path, f);
  }

  /** A message of a session that stands. @param {ServerMessage} m */
  #receive(m) {
    switch (m.t) {
      case "snapshot":
        return this.#snapshot(m);
      case "update":
        return this.#update(m);
      case "gap":
        return this.#gap(m);
      case "status":
        return this.#status(m);
      case "media":
        return this.#media(m);
      case "ack":
        if (this.#pending.delete(m.id)) this.#event(m);
        return;
      case "error":
        if (!m.id || this.#pending.delete(m.id)) this.#event(m);
        return;
      case "ping":
        return this.#send({ t: "pong", id: m.id });
      case "pong":
      case "drain":
        return this.#event(m);
      case "ejected":
      case "bye":
        return this.#endedByWord(m.reason);
    }
  }

  /** Where a subscription starts, or starts again: what a log lost since is told. @param {import("./protocol.js").Snapshot} m */
  #snapshot(m) {
    const f = this.#subscriptions.get(m.path);
    if (!f) return;
    let next = m.offset;
    if (f.placed && (m.kind === "log" || f.kind === "log")) {
      if (m.epoch !== f.epoch) this.#lose(m.path, f);
      else if (m.offset > f.next) this.#lose(m.path, f, m.offset);
      else next = f.next; // a replay of what was handed out already is dropped
    }
    f.kind = m.kind;
    place(f, m.epoch, next);
    this.#event(m);
  }

  /** Hands out what is new and drops what is not. @param {import("./protocol.js").Update} m */
  #update(m) {
    const f = this.#subscriptions.get(m.path);
    if (!f?.answered) return;
    f.kind = m.fields ? "record" : "log";
    if (m.epoch !== f.epoch) this.#lose(m.path, f);
    else if (m.offset < f.next) return;
    else if (m.offset > f.next && f.kind === "log") this.#lose(m.path, f, m.offset); // updates of a record may be conflated
    place(f, m.epoch, m.offset + 1);
    this.#event(m);
  }

  /** @param {import("./protocol.js").Gap} m */
  #gap(m) {
    const f = this.#subscriptions.get(m.path);
    if (!f?.answered || m.epoch !== f.epoch || m.to <= f.next) return;
    this.#lose(m.path, f, m.to);
    f.next = m.to;
  }

  /** @param {import("./protocol.js").Status} m */
  #status(m) {
    if (!this.#subscriptions.has(m.path)) return;
    if (m.status === "refused" || m.status === "removed") this.#subscriptions.delete(m.path);
    this.#event(m);
  }

  /** @param {import("./protocol.js").MediaInfo} m */
  #media(m) {
    const f = this.#plays.get(m.path);
    if (!f) return;
    if (m.status === "gone") this.#plays.delete(m.path);
    place(f, m.epoch, m.offset);
    this.#event(m);
  }

  /** @param {ArrayBuffer | Uint8Array} message */
  #receiveMedia(message) {
    const m = this.state === "logged_in" ? parseMedia(message) : null;
    const f = m && this.#plays.get(m.path);
    if (!m || !f?.answered) return; // not asked for, or of an earlier play that was stopped
    place(f, m.epoch, m.init ? m.offset : m.offset + 1);
    this.out.push({ do: "fragment", media: m });
  }

  /** @param {"subscribe" | "play"} t @param {string} path @param {Follower} f */
  #ask(t, path, f) {
    if (f.placed && f.resume) this.#send({ t, path, from: "offset", epoch: f.epoch, offset: f.next });
    else this.#send(/** @type {ClientMessage} */ ({ t, path, from: f.from }));
  }

  /** Updates up to `to` are lost. @param {string} path @param {Follower} f @param {number} [to] */
  #lose(path, f, to) {
    this.#event({ t: "gap", path, epoch: f.epoch, from: f.next, ...(to === undefined ? {} : { to }) });
  }

  #online() {
    return this.state === "connected" || this.state === "logged_in";
  }

  /** The server ended the session in a message: the connection is closed from this side too. @param {Reason} [r] */
  #endedByWord(r) {
    this.#close(reason("done"));
    this.#ended(reasonFromWire(r) ?? reason("shutdown"));
  }

  /** The server ended the session with a reason of its own: a final one is the end. @param {Reason} r */
  #ended(r) {
    if (!this.#online() || r.retry) return this.broken(r);
    if (this.state === "connected") this.#to("login_failed", r);
    else if (r.word !== "done") this.#to("ejected", r);
    this.#disconnected(r);
  }

  /** @param {Reason} r */
  #disconnected(r) {
    this.#to("disconnected", r);
    this.#dropped();
    this.#subscriptions.clear();
    this.#plays.clear();
    this.session = "";
  }

  /** @param {Reason} r */
  #lost(r) {
    this.#to("lost", r);
    this.#dropped();
  }

  /** Tells of the publishes whose fate is unknown; subscriptions have no answer any more. */
  #dropped() {
    for (const [id, path] of this.#pending) this.#event({ t: "error", id, path, reason: reason("lost", "the connection was lost") });
    this.#pending.clear();
    for (const f of this.#subscriptions.values()) f.answered = false;
    for (const f of this.#plays.values()) f.answered = false;
  }

  /** @param {ClientMessage} message */
  #send(message) {
    this.out.push({ do: "send", message });
  }

  /** @param {Reason} r */
  #close(r) {
    this.out.push({ do: "close", reason: r });
  }

  /** @param {Event} event */
  #event(event) {
    this.out.push({ do: "event", event });
  }

  /** The one place where the state changes; what states.js does not allow is not made. @param {string} to @param {Reason} [r] */
  #to(to, r) {
    if (!may(this.state, to)) return;
    this.out.push({ do: "state", from: this.state, to, reason: r });
    this.state = to;
  }
}

/** @param {From | "keyframe"} from @param {boolean} resume @returns {Follower} */
function follower(from, resume) {
  return { from, resume, answered: false, kind: "none", placed: false, epoch: "", next: 0 };
}

/** The server answered with a position. @param {Follower} f @param {string} epoch @param {number} next */
function place(f, epoch, next) {
  Object.assign(f, { placed: true, answered: true, epoch, next });
}

/** @param {Map<string, Follower>} to @param {string} verb @param {string} path @param {Follower} f */
function add(to, verb, path, f) {
  checkPath(verb, path);
  if (to.has(path)) throw new ReasonError(`${verb} ${JSON.stringify(path)}`, reason("bad_request", "there is one already"));
  to.set(path, f);
}

/** @param {string} verb @param {string} path */
function checkPath(verb, path) {
  const fault = pathFault(path);
  if (fault) throw new ReasonError(`${verb} ${JSON.stringify(path)}`, reason("bad_request", `path: ${fault}`));
}
