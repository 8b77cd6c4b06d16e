/**
 * The element with an id, which index.html has.
 * @param {string} id
 * @returns {any}
 */
export function byId(id) {
  const e = document.getElementById(id);
  if (!e) throw new Error(`console: the page has no #${id}`);
  return e;
}

/**
 * A new element with attributes and children; `class` and such as in HTML.
 * @param {string} name
 * @param {{[attribute: string]: string}} [attributes]
 * @param {...(Node | string)} children
 */
export function make(name, attributes = {}, ...children) {
  const e = document.createElement(name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  e.append(...children);
  return e;
}

/** Sets the text only where it changed, so that a selection in it stays. @param {Element} e @param {string} text */
export function setText(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

/** "14:03:07.250" @param {Date} d */
export function clock(d) {
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return `${two(d.getHours())}:${two(d.getMinutes())}:${two(d.getSeconds())}.${String(d.getMilliseconds()).padStart(3, "0")}`;
}

/** "1:02:03" or "2:03" @param {number} seconds */
export function duration(seconds) {
  const s = Math.max(0, Math.floor(seconds)), h = Math.floor(s / 3600), m = Math.floor(s / 60) % 60;
  const two = (/** @type {number} */ n) => String(n).padStart(2, "0");
  return h > 0 ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

const CODECS = [
  [/^avc[13]/, "H.264"], [/^h(vc|ev)1/, "HEVC"], [/^av01/, "AV1"], [/^vp09/, "VP9"], [/^vp08|^vp8/, "VP8"],
  [/^mp4a\.(40\.34|6b|69)|^mp3/i, "MP3"], [/^mp4a/, "AAC"], [/^opus/i, "Opus"], [/^fLaC|^flac/, "FLAC"],
];

/** "H.264" for "avc1.42c01e" @param {string} codec */
export function codecName(codec) {
  for (const [pattern, name] of CODECS) if (/** @type {RegExp} */ (pattern).test(codec)) return /** @type {string} */ (name);
  return codec;
}

/** "H.264 640×360" @param {import("./js/protocol.js").Track} t */
export function trackName(t) {
  if (t.kind === "video") return `${codecName(t.codec)}${t.width ? ` ${t.width}×${t.height}` : ""}`;
  return `${codecName(t.codec)}${t.sampleRate ? ` ${t.sampleRate / 1000} kHz` : ""}`;
}
