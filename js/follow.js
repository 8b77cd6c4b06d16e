import { MAX_MESSAGE, MAX_SUBSCRIPTIONS, pathFault } from "./protocol.js";
import { ReasonError, reason } from "./reasons.js";

/** How many characters of what is followed a hello may carry; the rest is asked for after the welcome. */
const HELLO_ROOM = MAX_MESSAGE / 4;

/**
 * @typedef {import("./protocol.js").ClientMessage} ClientMessage
 * @typedef {import("./protocol.js").Media} Media
 * @typedef {import("./protocol.js").From} From
 * @typedef {import("./protocol.js").Want} Want
 * @typedef {import("./protocol.js").Ask} Ask
 * @typedef {import("./machine.js").Event} Event
 *
 * @typedef {object} Follower  a subscription or a play
 * @property {string} path
 * @property {From | "keyframe"} from  as the application asked
 * @property {boolean} resume  ask for the position after a reconnect
 * @property {Want} want
 * @property {string} kind
 * @property {boolean} placed  epoch and next mean something
 * @property {boolean} answered  the server answered on this connection
 * @property {boolean} goesOn  it was asked on this connection to go on at next, so what comes from before that was seen
 * @property {string} epoch  of the last answer
 * @property {number} next  the offset that is wanted next
 */

/** @param {string} path @param {From | "keyframe"} from @param {boolean} resume @param {Want} [want] @returns {Follower} */
export function follower(path, from, resume, want = {}) {
  return { path, from, resume, want, kind: "none", placed: false, answered: false, goesOn: false, epoch: "", next: 0 };
}

/** @param {string} what @param {string} path @throws {ReasonError} the path makes no sense */
export function checkPath(what, path) {
  const fault = pathFault(path);
  if (fault) throw new ReasonError(`${what} ${JSON.stringify(path)}`, reason("bad_request", `path: ${fault}`));
}

/** The subscriptions or the plays, in the order in which the application asked. */
export class Followers {
  /** @type {Map<string, Follower>} */
  #byPath = new Map();
  #t;

  /** @param {"subscribe" | "play"} t */
  constructor(t) {
    this.#t = t;
  }

  /** @param {string} path */
  get(path) {
    return this.#byPath.get(path);
  }

  /** @param {Follower} f @throws {ReasonError} the path makes no sense or is followed already */
  add(f) {
    checkPath(this.#t, f.path);
    if (this.#byPath.has(f.path)) throw new ReasonError(`${this.#t} ${JSON.stringify(f.path)}`, reason("bad_request", "there is one already"));
    this.#byPath.set(f.path, f);
  }

  /** @param {string} path */
  remove(path) {
    return this.#byPath.delete(path);
  }

  clear() {
    this.#byPath.clear();
  }

  /** A connection has ended or begins. */
  unanswered() {
    for (const f of this.#byPath.values()) f.answered = false;
  }

  /**
   * The request for where it stands, or, the first time, as the application wanted.
   * @param {Follower} f @param {boolean} goOn  a move between connections goes on where it stands in any case
   * @returns {Ask}
   */
  ask(f, goOn) {
    const { count, age, rate, fields, window } = f.want;
    f.goesOn = f.placed && (f.resume || goOn) && !window;
    const from = f.goesOn ? "offset" : f.from;
    /** @type {Ask} */
    const ask = { t: this.#t, path: f.path, from };
    if (from === "offset") Object.assign(ask, { epoch: f.epoch, offset: f.next });
    if (from === "history" && count) ask.count = count;
    if (from === "history" && age) ask.age = age;
    if (rate !== undefined && rate !== null) ask.rate = rate;
    if (fields?.length) ask.fields = fields;
    if (window) ask.window = window;
    return ask;
  }

  /**
   * The requests for a hello, as many as there is room for; the others come back as `late`.
   * @param {number} room  in characters @param {boolean} goOn
   */
  asks(room, goOn) {
    /** @type {Omit<Ask, "t">[]} */
    const now = [];
    /** @type {Ask[]} */
    const late = [];
    for (const f of this.#byPath.values()) {
      const ask = this.ask(f, goOn);
      room -= JSON.stringify(ask).length;
      if (room < 0 || now.length >= MAX_SUBSCRIPTIONS) {
        late.push(ask);
        continue;
      }
      const { t: _, ...wanted } = ask;
      now.push(wanted);
    }
    return { now, late, room };
  }
}

/** The server answered with a position. @param {Follower} f @param {string} epoch @param {number} next */
function place(f, epoch, next) {
  f.placed = f.answered = true;
  f.epoch = epoch;
  f.next = next;
}

/** Whether what stands at a place was handed out on an earlier connection. @param {Follower} f @param {string} epoch @param {number} offset */
function seen(f, epoch, offset) {
  return f.goesOn && f.placed && epoch === f.epoch && offset < f.next;
}

/** What the client follows, and what the server says of it: that is handed out in order, once, and with what was lost. */
export class Following {
  #subscriptions = new Followers("subscribe");
  #plays = new Followers("play");
  #emit;
  #request;

  /** @param {(event: Event) => void} emit @param {(m: ClientMessage) => void} request */
  constructor(emit, request) {
    this.#emit = emit;
    this.#request = request;
  }

  /** @param {string} path @param {import("./machine.js").Start} [start] */
  subscribe(path, start = {}) {
    const { from = start.count || start.age ? "history" : "snapshot", epoch, offset, count, age, rate, fields, window } = start;
    const f = follower(path, from, true, { count, age, rate, fields, window });
    if (from === "offset") Object.assign(f, { placed: true, epoch, next: offset });
    this.#subscriptions.add(f);
    this.#request(this.#subscriptions.ask(f, false));
  }

  /** @param {string} path */
  unsubscribe(path) {
    if (this.#subscriptions.remove(path)) this.#request({ t: "unsubscribe", path });
  }

  /** @param {string} path @param {number | null} rate */
  throttle(path, rate) {
    const f = this.#subscriptions.get(path);
    if (!f) return;
    f.want = { ...f.want, rate };
    this.#request({ t: "throttle", path, rate });
  }

  /** @param {string} path @param {boolean} resume */
  play(path, resume) {
    const f = follower(path, "keyframe", resume);
    this.#plays.add(f);
    this.#request(this.#plays.ask(f, false));
  }

  /** @param {string} path */
  stop(path) {
    if (this.#plays.remove(path)) this.#request({ t: "stop", path });
  }

  /** Writes into a hello what is followed, and returns what there is no room for. @param {import("./protocol.js").Hello} hello @param {boolean} goOn  see Followers.ask */
  tell(hello, goOn) {
    const subscribe = this.#subscriptions.asks(HELLO_ROOM, goOn), play = this.#plays.asks(subscribe.room, goOn);
    if (subscribe.now.length > 0) hello.subscribe = subscribe.now;
    if (play.now.length > 0) hello.play = play.now;
    return [...subscribe.late, ...play.late];
  }

  /** A connection has ended, or another begins. */
  unanswered() {
    this.#subscriptions.unanswered();
    this.#plays.unanswered();
  }

  clear() {
    this.#subscriptions.clear();
    this.#plays.clear();
  }

  /** @param {import("./protocol.js").ServerMessage} m */
  receive(m) {
    if (m.t === "snapshot") this.#snapshot(m);
    else if (m.t === "update") this.#update(m);
    else if (m.t === "gap") this.#gap(m);
    else if (m.t === "window") this.#window(m);
    else if (m.t === "status") this.#status(m);
    else if (m.t === "media") this.#media(m);
  }

  /** Updates up to `to` are lost. @param {Follower} f @param {number} [to] */
  #lose(f, to) {
    this.#emit({ t: "gap", path: f.path, epoch: f.epoch, from: f.next, ...(to === undefined ? {} : { to }) });
  }

  /** Where a subscription starts, or starts again: what a log lost since is told. @param {import("./protocol.js").Snapshot} m */
  #snapshot(m) {
    const f = this.#subscriptions.get(m.path);
    if (!f) return;
    const isLog = m.kind === "log" || f.kind === "log", whole = m.fields !== undefined || m.data !== undefined;
    let next = m.offset;
    if (f.placed && !isLog) {
      if (seen(f, m.epoch, m.offset) && !whole) next = f.next; // what stands here came on the connection before
    } else if (f.placed) {
      if (m.epoch !== f.epoch) this.#lose(f);
      else if (m.offset > f.next) this.#lose(f, m.offset);
      else next = f.next; // a replay of what was handed out already is dropped
    }
    f.kind = m.kind;
    place(f, m.epoch, next);
    this.#emit(m);
  }

  /** Hands out what is new and drops what is not. @param {import("./protocol.js").Update} m */
  #update(m) {
    const f = this.#subscriptions.get(m.path);
    if (!f?.answered) return;
    f.kind = m.fields ? "record" : m.kind === "json" ? "json" : "log";
    if (m.epoch !== f.epoch) this.#lose(f);
    else if (m.offset < f.next) return;
    else if (m.offset > f.next && f.kind === "log") this.#lose(f, m.offset); // others may be conflated
    place(f, m.epoch, m.offset + 1);
    this.#emit(m);
  }

  /** @param {import("./protocol.js").WindowView} m */
  #window(m) {
    const f = this.#subscriptions.get(m.path);
    if (!f?.want.window) return;
    f.kind = "record";
    place(f, m.epoch, m.offset);
    this.#emit(m);
  }

  /** @param {import("./protocol.js").Gap} m */
  #gap(m) {
    const f = this.#subscriptions.get(m.path);
    if (!f?.answered || m.epoch !== f.epoch || m.to <= f.next) return;
    this.#lose(f, m.to);
    f.next = m.to;
  }

  /** @param {import("./protocol.js").Status} m */
  #status(m) {
    if (!this.#subscriptions.get(m.path)) return;
    if (m.status === "refused" || m.status === "removed") this.#subscriptions.remove(m.path);
    this.#emit(m);
  }

  /** @param {import("./protocol.js").MediaInfo} m */
  #media(m) {
    const f = this.#plays.get(m.path);
    if (!f) return;
    if (m.status === "gone") this.#plays.remove(m.path);
    place(f, m.epoch, seen(f, m.epoch, m.offset) ? f.next : m.offset);
    this.#emit(m);
  }

  /** Whether a fragment is to be handed out. @param {Media} m */
  fragment(m) {
    const f = this.#plays.get(m.path);
    if (!f?.answered) return false; // not asked for, or of an earlier play that was stopped
    if (seen(f, m.epoch, m.offset)) return m.init; // it came on the connection before
    place(f, m.epoch, m.init ? m.offset : m.offset + 1);
    return true;
  }
}
