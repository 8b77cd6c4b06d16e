import { mergePatch } from "./protocol.js";

/**
 * What a client hands to the application: subscriptions, plays, and the queues behind their async iterators.
 *
 * @typedef {import("./machine.js").SubjectEvent} SubjectEvent
 * @typedef {import("./protocol.js").Fields} Fields
 * @typedef {import("./protocol.js").Media} Media
 * @typedef {import("./protocol.js").MediaInfo} MediaInfo
 *
 * The iterating loop fell behind, and so many items were left out before the next one.
 * @typedef {{t: "missed", missed: number}} Missed
 */

/** How many items an async iterator holds for a loop that is slow, unless said otherwise. */
export const QUEUE = 10_000;

/**
 * A queue between what happens and one `for await` loop. A loop that falls behind by more than `limit` items is told how
 * many it missed.
 * @template T
 * @implements {AsyncIterableIterator<T | Missed>}
 */
export class Queue {
  /** @type {T[]} */
  #items = [];
  #first = 0;
  #missed = 0;
  #ended = false;
  /** @type {((r: IteratorResult<T | Missed, undefined>) => void)[]} */
  #waiting = [];
  #limit;
  #onreturn;

  /** @param {() => void} [onreturn]  the loop was left @param {number} [limit] */
  constructor(onreturn, limit = QUEUE) {
    this.#onreturn = onreturn;
    this.#limit = limit;
  }

  /** @param {T} item */
  push(item) {
    const waiting = this.#waiting.shift();
    if (waiting) return waiting({ value: item, done: false });
    if (this.#ended) return;
    this.#items.push(item);
    if (this.#items.length - this.#first > this.#limit) {
      this.#shift();
      this.#missed++;
    }
  }

  /** What is in the queue is still handed out, then the loop ends. */
  end() {
    this.#ended = true;
    for (const waiting of this.#waiting.splice(0)) waiting({ value: undefined, done: true });
  }

  /** @returns {Promise<IteratorResult<T | Missed, undefined>>} */
  next() {
    if (this.#missed > 0) {
      const missed = this.#missed;
      this.#missed = 0;
      return Promise.resolve({ value: { t: "missed", missed }, done: false });
    }
    if (this.#first < this.#items.length) return Promise.resolve({ value: this.#shift(), done: false });
    if (this.#ended) return Promise.resolve({ value: undefined, done: true });
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  /** @returns {Promise<IteratorResult<T | Missed, undefined>>} */
  return() {
    this.end();
    this.#items = [];
    this.#first = this.#missed = 0;
    this.#onreturn?.();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator]() {
    return this;
  }

  /** Takes the oldest item; the array is cut now and then, not each time. */
  #shift() {
    const item = this.#items[this.#first++];
    if (this.#first > 1000 && this.#first * 2 > this.#items.length) {
      this.#items.splice(0, this.#first);
      this.#first = 0;
    }
    return item;
  }
}

/**
 * What Subscription and Play have in common: a callback, iterators, and an end.
 * @template T
 */
class Handle {
  /** The path that is followed. @type {string} */
  path;
  /** Called with each message, in order; may be set at any time. @type {((message: T) => void) | undefined} */
  onmessage;
  /** Nothing comes any more: closed here, refused or removed by the server, or the client was disconnected. */
  ended = false;
  /** @type {Set<Queue<T>>} */
  #queues = new Set();
  #leave;

  /** @param {string} path @param {((message: T) => void) | undefined} onmessage @param {() => void} leave */
  constructor(path, onmessage, leave) {
    this.path = path;
    this.onmessage = onmessage;
    this.#leave = leave;
  }

  /** Ends it; what is still on its way is not handed out. */
  close() {
    if (this.ended) return;
    this.end();
    this.#leave();
  }

  /** Each message from now on, in order. Leaving the loop does not close the handle. @returns {Queue<T>} */
  [Symbol.asyncIterator]() {
    /** @type {Queue<T>} */
    const queue = new Queue(() => this.#queues.delete(queue));
    if (this.ended) queue.end();
    else this.#queues.add(queue);
    return queue;
  }

  /** @param {T} message @internal */
  deliver(message) {
    for (const queue of this.#queues) queue.push(message);
    guard(this.onmessage, message);
  }

  /** @internal */
  end() {
    this.ended = true;
    for (const queue of this.#queues) queue.end();
    this.#queues.clear();
  }
}

/**
 * A subscription: hands out where it starts ("snapshot"), each update once and in order ("update"), what was lost ("gap") and
 * its status ("status"); with a window, all that it shows whenever that has changed ("window").
 * @extends {Handle<SubjectEvent>}
 */
export class Subscription extends Handle {
  /** What several subscriptions of a client to one path share. @type {Subject} */
  #subject;

  #throttle;

  /**
   * @param {string} path @param {((message: SubjectEvent) => void) | undefined} onmessage @param {Subject} subject @param {() => void} leave
   * @param {(rate: number | null) => void} throttle @internal
   */
  constructor(path, onmessage, subject, leave, throttle) {
    super(path, onmessage, leave);
    this.#subject = subject;
    this.#throttle = throttle;
  }

  /**
   * Changes the greatest rate of updates, for all of this client's subscriptions to the path; what comes in between is folded together.
   * @param {number | null} rate  updates a second; 0 stops them, null lets all come
   */
  throttle(rate) {
    if (!this.ended) this.#throttle(rate);
  }

  /** "log", "record", "json", or "none" while nothing was published. */
  get kind() {
    return this.#subject.kind;
  }

  /** The image of a record: its fields as they are now. The object is replaced, not altered, when a field changes. */
  get fields() {
    return this.#subject.fields;
  }

  /** The document of a json subject as it is now; undefined before the first. It is replaced, not altered, when something in it changes. */
  get document() {
    return this.#subject.document;
  }

  /** With a window: the rows that it shows, each [name, value]. */
  get rows() {
    return this.#subject.rows;
  }

  /** With a window: how many rows pass the filter, and the number of the first one shown. */
  get total() {
    return this.#subject.total;
  }

  get start() {
    return this.#subject.start;
  }

  /** Names the life of the subject that `offset` counts in; "" before the snapshot. */
  get epoch() {
    return this.#subject.epoch;
  }

  /** The offset of the next update. */
  get offset() {
    return this.#subject.offset;
  }

  /** What the server last said: "ok" until it says otherwise. */
  get status() {
    return this.#subject.status;
  }
}

/**
 * What a client knows of a path that it follows.
 * @internal
 */
export class Subject {
  /** @type {Set<Subscription>} */
  subscriptions = new Set();
  kind = "none";
  epoch = "";
  offset = 0;
  /** @type {import("./protocol.js").SubjectStatus} */
  status = "ok";
  /** @type {Fields} */
  fields = {};
  /** @type {any} */
  document;
  /** @type {[string, any][]} */
  rows = [];
  total = 0;
  start = 0;
  /** What the line's subscription asks for. */
  want;

  /** @param {string} want */
  constructor(want) {
    this.want = want;
  }

  /** Folds a message into what is known. @param {SubjectEvent} m */
  apply(m) {
    if (m.t === "status") this.status = m.status;
    else if (m.t === "snapshot") this.#snapshot(m);
    else if (m.t === "update") this.#update(m);
    else if (m.t === "window") {
      this.#at("record", m.epoch, m.offset);
      this.rows = m.rows;
      this.total = m.total;
      this.start = m.start;
    }
  }

  /** @param {import("./protocol.js").Snapshot} m */
  #snapshot(m) {
    this.#at(m.kind, m.epoch, m.offset);
    if (m.fields) this.fields = { ...m.fields };
    if (m.data !== undefined) this.document = m.data;
  }

  /** @param {import("./protocol.js").Update} m */
  #update(m) {
    this.#at(m.fields ? "record" : m.kind === "json" ? "json" : "log", m.epoch, m.offset + 1);
    if (m.fields) this.fields = merge(this.fields, m.fields);
    else if (m.patch) this.document = mergePatch(this.document, m.patch);
    else if (m.kind === "json") this.document = m.data;
  }

  /** What a subscription that joins others starts with, or undefined when the server's answer is still to come. @param {string} path @param {boolean} windowed */
  snapshot(path, windowed) {
    if (!this.epoch) return undefined;
    const { epoch, offset, total, start, rows } = this;
    if (windowed) return /** @type {SubjectEvent} */ ({ t: "window", path, epoch, offset, total, start, rows });
    /** @type {import("./protocol.js").Snapshot} */
    const m = { t: "snapshot", path, kind: /** @type {"log" | "record" | "json" | "none"} */ (this.kind), epoch, offset };
    if (this.kind === "record") m.fields = this.fields;
    if (this.kind === "json") m.data = this.document;
    return m;
  }

  /** @param {string} kind @param {string} epoch @param {number} offset */
  #at(kind, epoch, offset) {
    this.kind = kind;
    this.epoch = epoch;
    this.offset = offset;
  }
}

/** @param {Fields} image @param {Fields} changed */
function merge(image, changed) {
  const fields = { ...image, ...changed };
  for (const name in changed) if (changed[name] === null) delete fields[name];
  return fields;
}

/**
 * The media of a path: what it is made of ("media", before the init segment that it speaks of, and whenever that or its status changes),
 * the init segment and the fragments.
 * @typedef {MediaInfo | ({t: "fragment"} & Media)} PlayMessage
 *
 * @extends {Handle<PlayMessage>}
 */
export class Play extends Handle {
  /** The last "media". @type {MediaInfo | undefined} */
  info;
}

/**
 * What this client feeds: hands out which paths somebody begins to follow, and which nobody has followed for half a minute. After a reconnect what is wanted is told again.
 * @extends {Handle<import("./protocol.js").WantedPath>}
 */
export class Source extends Handle {
  /** The paths that are wanted now. @type {Set<string>} */
  wanted = new Set();
}

/**
 * The signals about a path: what the server says of WebRTC, and what is said to it.
 * @extends {Handle<import("./protocol.js").Signal>}
 */
export class Signals extends Handle {
  #send;

  /**
   * @param {string} path @param {((message: import("./protocol.js").Signal) => void) | undefined} onmessage @param {() => void} leave
   * @param {(data: {[name: string]: any}) => void} send @internal
   */
  constructor(path, onmessage, leave, send) {
    super(path, onmessage, leave);
    this.#send = send;
  }

  /** @param {{[name: string]: any}} data @returns {boolean} false when there is no connection: what was to be said is not said later */
  send(data) {
    if (this.ended) return false;
    try {
      this.#send(data);
      return true;
    } catch {
      return false;
    }
  }
}

/**
 * Calls what the application gave; an exception there is reported as uncaught and disturbs nothing else.
 * @template {any[]} A
 * @param {((...args: A) => void) | undefined | null} f
 * @param {A} args
 */
export function guard(f, ...args) {
  try {
    f?.(...args);
  } catch (e) {
    queueMicrotask(() => {
      throw e;
    });
  }
}
