import { byId, clock, make, setText } from "./dom.js";
import { mergePatch } from "./js/protocol.js";

/**
 * @typedef {import("./js/machine.js").SubjectEvent} SubjectEvent
 * @typedef {{cells: string[], note: boolean}} Row
 */

/** How many messages of a log are shown. */
const ROWS = 100;

/** How often the tables are drawn at most, in ms. */
const REDRAW = 150;

/** How long a field that changed stands out, in ms. */
const FRESH = 900;

/** The data of a path: a table of a record's fields or of a document's members, or the newest messages of a log. */
export class DataView {
  /** What came, for tests. */
  counts = { updates: 0, gaps: 0, lost: 0, firstOffset: -1, lastOffset: -1, ordered: true };

  #kind = "none";
  #before = 0; // how many messages of a log there were before this page came
  /** @type {any} */
  #document;
  /** Of a record, or the members of a document. @type {{[name: string]: any}} */
  #fields = {};
  /** When each field changed. @type {Map<string, number>} */
  #changed = new Map();
  /** Newest last. @type {Row[]} */
  #rows = [];
  #shown = 0; // how many of the updates are not listed: marks
  #dirty = true;
  #timer = setInterval(() => this.#draw(), REDRAW);

  close() {
    clearInterval(this.#timer);
  }

  /** @param {SubjectEvent} m @param {boolean} listed  not drawn over the picture already */
  add(m, listed) {
    this.#dirty = true;
    if (m.t === "snapshot") {
      this.#kind = m.kind;
      if (this.counts.updates === 0) this.#before = m.offset;
      if (m.fields) this.#fields = { ...m.fields };
      if (m.kind === "json" && m.data !== undefined) this.#replace(m.data);
    } else if (m.t === "update") {
      this.#update(m, listed);
    } else if (m.t === "gap") {
      this.counts.gaps++;
      this.counts.lost += m.to === undefined ? 0 : m.to - m.from;
      this.#note(m.to === undefined ? "the subject began anew: an unknown number of messages is lost" : `${m.to - m.from} messages lost, from offset ${m.from}`);
    } else if (m.t === "status" && m.status !== "ok") {
      this.#note(`${m.status}${m.reason ? `: ${m.reason.text}` : ""}`);
    }
  }

  /** @param {import("./js/protocol.js").Update} m @param {boolean} listed */
  #update(m, listed) {
    const c = this.counts;
    c.updates++;
    if (c.firstOffset < 0) c.firstOffset = m.offset;
    if (m.offset <= c.lastOffset) c.ordered = false;
    c.lastOffset = m.offset;
    if (m.fields) {
      this.#kind = "record";
      for (const [name, value] of Object.entries(m.fields)) {
        this.#changed.set(name, performance.now());
        if (value === null) delete this.#fields[name];
        else this.#fields[name] = value;
      }
    } else if (m.kind === "json") {
      this.#kind = "json";
      this.#replace(m.patch ? mergePatch(this.#document, m.patch) : m.data);
    } else if (listed) {
      this.#kind = "log";
      this.#push({ cells: [clock(new Date(m.at)), m.time === undefined ? "" : `${(m.time / 1000).toFixed(3)} s`, JSON.stringify(m.data)], note: false });
    } else {
      this.#shown++;
    }
  }

  /** Shows another document; what is no object is shown as one value. @param {any} document */
  #replace(document) {
    const old = this.#fields, first = this.#document === undefined;
    this.#document = document;
    this.#fields = document !== null && typeof document === "object" && !Array.isArray(document) ? document : { "": document };
    for (const [name, value] of Object.entries(this.#fields)) if (!first && JSON.stringify(value) !== JSON.stringify(old[name])) this.#changed.set(name, performance.now());
  }

  /** @param {string} text */
  #note(text) {
    this.#push({ cells: [clock(new Date()), "", text], note: true });
  }

  /** @param {Row} row */
  #push(row) {
    this.#rows.push(row);
    if (this.#rows.length > 2 * ROWS) this.#rows.splice(0, ROWS);
  }

  #draw() {
    const fresh = performance.now() - FRESH;
    for (const [name, at] of this.#changed) if (at < fresh) this.#changed.delete(name) && (this.#dirty = true);
    if (!this.#dirty) return;
    this.#dirty = false;
    const record = byId("record"), feed = byId("feed"), none = byId("data-none");
    record.hidden = this.#kind !== "record" && this.#kind !== "json";
    feed.hidden = this.#rows.length === 0;
    none.hidden = !record.hidden || !feed.hidden;
    setText(none, this.#nothing());
    setText(byId("data-count"), this.#summary());
    if (!record.hidden) record.tBodies[0].replaceChildren(...this.#fieldRows());
    if (!feed.hidden) feed.tBodies[0].replaceChildren(...this.#rows.slice(-ROWS).reverse().map(feedRow));
  }

  /** Why no table is shown. */
  #nothing() {
    if (this.#shown > 0) return "Everything so far is drawn over the picture.";
    if (this.#kind !== "log" || this.#before === 0) return "Nothing was published on this path so far.";
    return `${this.#before.toLocaleString("en")} ${this.#before === 1 ? "message was" : "messages were"} published here before; new ones are listed as they come.`;
  }

  #summary() {
    const n = this.counts.updates;
    if (n === 0) return "";
    const marks = this.#shown > 0 ? `, ${this.#shown.toLocaleString("en")} drawn as marks` : "";
    const lost = this.counts.lost > 0 ? `, ${this.counts.lost.toLocaleString("en")} lost` : "";
    return `${n.toLocaleString("en")} ${n === 1 ? "update" : "updates"}${marks}${lost}`;
  }

  #fieldRows() {
    return Object.keys(this.#fields).sort().map((name) => {
      const value = this.#fields[name];
      const text = typeof value === "string" ? value : JSON.stringify(value);
      return make("tr", this.#changed.has(name) ? { class: "fresh" } : {}, make("td", {}, name), make("td", {}, text));
    });
  }
}

/** @param {Row} row */
function feedRow({ cells, note }) {
  return make("tr", note ? { class: "note" } : {}, ...cells.map((text) => make("td", {}, text)));
}
