import { byId, duration, make, setText, trackName } from "./dom.js";

/** The record that says what is live: a field for each path, null when it is gone. */
const SUBJECT = "/sys/live";

/**
 * @typedef {object} LivePath  a field of the record
 * @property {import("./js/protocol.js").Track[]} [tracks]
 * @property {number} [viewers]
 * @property {number} [since]  ms since 1970
 * @property {string} [light]
 * @property {number} [kbps]
 */

/** The list of what is live. */
export class LiveList {
  /** What is live, by path. @type {{[path: string]: LivePath}} */
  paths = {};
  /** Called after each change. @type {() => void} */
  onchange = () => {};
  /** Called when the server does not show it. @type {(text: string) => void} */
  onrefused = () => {};

  #list = byId("live");
  #chosen = "";
  /** @type {Map<string, {item: HTMLElement, link: HTMLElement, about: HTMLElement}>} */
  #rows = new Map();
  #clock;

  /** @param {import("./js/client.js").Client} client */
  constructor(client) {
    this.#clock = () => Date.now() + (client.clockOffset ?? 0);
    const subscription = client.subscribe(SUBJECT, (m) => {
      if (m.t === "snapshot" || m.t === "update") this.#show(subscription.fields);
      if (m.t === "status" && m.reason) setText(byId("live-none"), `The list is not available: ${m.reason.text}.`);
      if (m.t === "status" && m.status === "refused") this.onrefused(m.reason?.text ?? "refused");
    });
    setInterval(() => this.#describe(), 1000);
  }

  /** Marks the path that is open. @param {string} path */
  choose(path) {
    this.#chosen = path;
    for (const [p, row] of this.#rows) this.#current(p, row.link);
  }

  /** @param {{[path: string]: LivePath}} paths */
  #show(paths) {
    this.paths = paths;
    for (const [path, row] of this.#rows) {
      if (paths[path]) continue;
      row.item.remove();
      this.#rows.delete(path);
    }
    const sorted = Object.keys(paths).sort();
    sorted.forEach((path, i) => {
      const row = this.#rows.get(path) ?? this.#add(path);
      if (this.#list.children[i] !== row.item) this.#list.insertBefore(row.item, this.#list.children[i] ?? null);
    });
    byId("live-none").hidden = sorted.length > 0;
    setText(byId("live-count"), sorted.length > 0 ? String(sorted.length) : "");
    this.#describe();
    this.onchange();
  }

  /** @param {string} path */
  #add(path) {
    const about = make("span", { class: "about" });
    const link = make("a", { href: "#" + encodeURI(path) }, make("span", { class: "dot" }), make("span", { class: "name" }, path), about);
    const row = { item: make("li", {}, link), link, about };
    this.#rows.set(path, row);
    this.#current(path, link);
    return row;
  }

  #describe() {
    for (const [path, { link, about }] of this.#rows) {
      const live = this.paths[path];
      link.dataset.light = live.light ?? "green";
      setText(about, describe(live, this.#clock()));
    }
  }

  /** @param {string} path @param {HTMLElement} link */
  #current(path, link) {
    if (path === this.#chosen) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

/** "H.264 640×360, AAC 48 kHz · 2 viewers · 1,200 kbit/s · 3:07" @param {LivePath} live @param {number} now */
function describe(live, now) {
  const parts = [];
  if (live.tracks?.length) parts.push(live.tracks.map(trackName).join(", "));
  else parts.push("data");
  if (live.light && live.light !== "green") parts.push(live.light);
  if (live.viewers !== undefined) parts.push(live.viewers === 1 ? "1 viewer" : `${live.viewers} viewers`);
  if (live.kbps) parts.push(`${Math.round(live.kbps).toLocaleString("en")} kbit/s`);
  if (live.since) parts.push(duration((now - live.since) / 1000));
  return parts.join(" · ");
}
