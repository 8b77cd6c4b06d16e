import { ReasonError, reason, reasonFromWire } from "./reasons.js";
import { byteLength } from "./protocol.js";

/**
 * A session over plain HTTP (docs/protocol.md): what the server sends comes as server-sent events, in one answer or in many; what the client sends goes in POSTs.
 *
 * @typedef {import("./dial.js").Wire} Wire
 * @typedef {import("./dial.js").To} To
 * @typedef {import("./dial.js").DialOptions} DialOptions
 */

/** The most characters of one event of the server. */
const MAX_EVENT = 32 << 20;

/** The most bytes that one POST carries, but for a single message that is longer. */
const MAX_POST = 512 << 10;

/** How long what is still to be sent may take after a close, in ms. */
const CLOSE_TIMEOUT = 1000;

const KEY_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** A name of 26 random letters for a connection or a publisher. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(26)), (b) => KEY_LETTERS[b % KEY_LETTERS.length]).join("");
}

/** Cuts a stream of server-sent events (HTML section 9.2.6) into events. */
export class EventParser {
  #rest = "";
  #from = 0; // where in the rest no line end was found yet
  #event = "";
  /** @type {string[]} */
  #data = [];
  #size = 0;
  #onevent;

  /** @param {(event: string, data: string) => void} onevent */
  constructor(onevent) {
    this.#onevent = onevent;
  }

  /** @param {string} text @throws {ReasonError} an event is too big */
  push(text) {
    const all = this.#rest + text;
    let start = 0;
    for (let end = all.indexOf("\n", this.#from); end >= 0; end = all.indexOf("\n", start)) {
      this.#line(all.slice(start, all[end - 1] === "\r" ? end - 1 : end));
      start = end + 1;
    }
    this.#rest = all.slice(start);
    this.#from = this.#rest.length;
    if (this.#size + this.#rest.length > MAX_EVENT) throw new ReasonError("events", reason("too_big", `an event of more than ${MAX_EVENT} characters`));
  }

  /** @param {string} line */
  #line(line) {
    if (line === "") {
      const data = this.#data, event = this.#event;
      this.#data = [];
      this.#event = "";
      this.#size = 0;
      if (data.length > 0) this.#onevent(event, data.join("\n"));
      return;
    }
    const colon = line.indexOf(":");
    const name = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + (line[colon + 1] === " " ? 2 : 1));
    if (name === "event") this.#event = value;
    if (name !== "data") return;
    this.#data.push(value);
    this.#size += value.length;
  }
}

/** A connection over plain HTTP. @implements {Wire} */
class Plain {
  /** @type {Wire["onmessage"]} */
  onmessage;
  /** @type {Wire["onclose"]} */
  onclose;
  transport;

  #base;
  #fetch;
  #abort = new AbortController();
  #ended = false;
  #posts = 0;
  #posting = false;
  /** @type {string[]} */
  #queue = [];
  #parser = new EventParser((event, data) => this.#event(event, data));

  /** @param {"events" | "poll"} transport @param {string} server @param {DialOptions} o */
  constructor(transport, server, o) {
    this.transport = transport;
    const key = randomKey();
    this.#base = (/** @type {string} */ what) => `${server.replace(/^ws/, "http").replace(/\?.*$/, "")}/${what}?c=${key}`;
    this.#fetch = o.fetch;
  }

  /** @param {string[]} texts */
  send(texts) {
    this.#queue.push(...texts.map((t) => t + "\n"));
    if (!this.#posting && !this.#ended) this.#post();
  }

  close() {
    if (this.#ended) return;
    this.#ended = true;
    this.onmessage = this.onclose = undefined;
    if (this.#posting) setTimeout(() => this.#abort.abort(), CLOSE_TIMEOUT);
    else this.#abort.abort();
  }

  /**
   * The stream of events. Nothing in between holds it back when its first bytes have come.
   * @param {() => void} opened
   */
  async events(opened) {
    const { body } = await this.#do(this.#base("events"));
    if (!body) throw new ReasonError("events", reason("unsupported", "this browser cannot read an answer as it comes"));
    const reader = body.getReader(), decoder = new TextDecoder();
    for (let first = true; ; first = false) {
      const { done, value } = await reader.read();
      if (done) return;
      if (first) opened();
      this.#parser.push(decoder.decode(value, { stream: true }));
    }
  }

  /** Asks until the end. A poll without an answer is repeated once: its answer is kept. @param {() => void} opened */
  async polls(opened) {
    await this.#do(`${this.#base("poll")}&n=0`);
    opened();
    for (let n = 1; !this.#ended; n++) {
      const text = await this.#twice(async () => (await this.#do(`${this.#base("poll")}&n=${n}`)).text());
      this.#parser.push(text);
    }
  }

  /** The connection is over, unless it was closed here. @param {unknown} [e] */
  end(e) {
    if (this.#ended) return;
    const onclose = this.onclose;
    this.close();
    onclose?.(1006, e === undefined ? "" : failure(e).text);
  }

  /** Sends what is queued, in order and in as few requests as may be. */
  async #post() {
    this.#posting = true;
    try {
      while (this.#queue.length > 0) {
        let n = 0;
        for (let size = 0; n < this.#queue.length; n++) {
          size += byteLength(this.#queue[n]);
          if (n > 0 && size > MAX_POST) break;
        }
        const url = `${this.#base("send")}&n=${this.#posts++}`, body = this.#queue.splice(0, n).join("");
        await this.#twice(() => this.#do(url, { method: "POST", body }));
      }
    } catch (e) {
      this.end(e);
    } finally {
      this.#posting = false;
      if (this.#ended) this.#abort.abort();
    }
  }

  /**
   * Once more where the network failed: the server takes and answers a number once.
   * @template T
   * @param {() => Promise<T>} f
   */
  async #twice(f) {
    try {
      return await f();
    } catch (e) {
      if (e instanceof ReasonError || this.#abort.signal.aborted) throw e;
      return f();
    }
  }

  /** @param {string} url @param {RequestInit} [init] @throws {ReasonError} the server refused, or something else answered: the network's own page, say, where one has to sign in */
  async #do(url, init) {
    const res = await this.#fetch(url, { cache: "no-store", signal: this.#abort.signal, ...init });
    const type = res.headers.get("content-type") ?? "";
    const want = init ? "" : "text/event-stream"; // a POST has no answer
    if (res.ok && type.split(";")[0] === want) return res;
    if (res.ok) {
      void res.body?.cancel().catch(() => {});
      throw new ReasonError(this.transport, reason("lost", `the answer is ${JSON.stringify(type)}, want ${JSON.stringify(want)}`));
    }
    const body = await res.json().catch(() => undefined);
    throw new ReasonError(this.transport, reasonFromWire(body?.error) ?? reason("lost", `the server answered ${res.status}`));
  }

  /** @param {string} event @param {string} data */
  #event(event, data) {
    if (this.#ended) return;
    if (event === "binary") {
      this.onmessage?.(Uint8Array.from(atob(data), (c) => c.charCodeAt(0)));
    } else if (event === "close") {
      const onclose = this.onclose, [code, word] = data.split(" ");
      this.close();
      onclose?.(Number(code), word ?? "");
    } else {
      this.onmessage?.(data);
    }
  }
}

/** @param {unknown} e */
function failure(e) {
  return e instanceof ReasonError ? e.reason : reason("lost", `${/** @type {any} */ (e)?.message ?? e}`);
}

/**
 * Opens a connection over plain HTTP.
 * @param {"events" | "poll"} transport @param {string} server @param {DialOptions} o @param {To} to
 * @returns {() => void} gives it up
 */
export function openPlain(transport, server, o, to) {
  const wire = new Plain(transport, server, o);
  let open = false;
  const opened = () => {
    open = true;
    to.opened(wire);
  };
  const reading = transport === "events" ? wire.events(opened) : wire.polls(opened);
  reading.then(
    () => (open ? wire.end() : to.failed(reason("lost"), false)),
    // An error that the server did not send is the network's: no other transport reaches it either.
    (e) => (open ? wire.end(e) : to.failed(failure(e), !(e instanceof ReasonError))),
  );
  return () => wire.close();
}
