import { concat } from "./boxes.js";

/**
 * One track's SourceBuffer behind a queue: appends, removals and changes of type are done one after the other, and all fragments that wait are
 * appended at once.
 *
 * @typedef {{do: "append", bytes: Uint8Array<ArrayBuffer>, init: boolean} | {do: "type", mime: string} | {do: "remove", start: number, end: number}} Operation
 */

/** Most bytes of one append, unless one fragment alone has more. */
const APPEND = 1 << 20;

/** Less than so many seconds are not worth a removal. */
const TRIM = 2;

export class TrackBuffer {
  /** The type of what was appended last. */
  mime;

  #source;
  #video;
  #needsKey; // what comes before a keyframe cannot be decoded
  #onerror;
  /** @type {Operation[]} */
  #queue = [];
  /** @type {Uint8Array | undefined} */
  #init;
  /** Decode times of the keyframes that may still be held, in seconds. @type {number[]} */
  #keys = [];

  /**
   * @param {MediaSource} media @param {string} mime @param {boolean} video
   * @param {() => void} onchange  the buffer changed
   * @param {(e: Error) => void} onerror  it can no longer be used
   */
  constructor(media, mime, video, onchange, onerror) {
    this.mime = mime;
    this.#video = this.#needsKey = video;
    this.#onerror = onerror;
    this.#source = media.addSourceBuffer(mime);
    this.#source.mode = "segments";
    this.#source.addEventListener("updateend", () => {
      this.#pump();
      onchange();
    });
    this.#source.addEventListener("error", () => onerror(new Error(`${mime}: the browser cannot use this`)));
  }

  /** Where what is buffered starts and ends, in seconds; null when nothing is. */
  get range() {
    try {
      const b = this.#source.buffered;
      return b.length > 0 ? { start: b.start(0), end: b.end(b.length - 1) } : null;
    } catch {
      return null; // removed from its media source
    }
  }

  /**
   * An init segment; one that is in force already is left out, since it would make the decoder wait for a keyframe.
   * @param {Uint8Array<ArrayBuffer>} bytes @param {string} mime
   */
  init(bytes, mime) {
    if (mime === this.mime && this.#init && same(this.#init, bytes)) return;
    if (mime !== this.mime) this.#queue.push({ do: "type", mime });
    this.mime = mime;
    this.#init = bytes;
    this.#queue.push({ do: "append", bytes, init: true });
    this.#pump();
  }

  /** @param {Uint8Array<ArrayBuffer>} bytes @param {boolean} key @param {number} dts  in seconds */
  append(bytes, key, dts) {
    if (this.#needsKey && !key) return;
    this.#needsKey = false;
    if (key) this.#keys.push(dts);
    this.#queue.push({ do: "append", bytes, init: false });
    this.#pump();
  }

  /**
   * Forgets what is older. A browser removes up to the next keyframe, which may lie ahead of what is shown; so the picture is removed up to
   * the last keyframe that is old enough itself.
   * @param {number} time  in seconds
   */
  trim(time) {
    const cut = this.#video ? (this.#keys.findLast((k) => k <= time) ?? 0) : time;
    const start = this.range?.start ?? Infinity;
    if (cut - start < TRIM || this.#queue.some((o) => o.do === "remove")) return;
    this.#keys = this.#keys.filter((k) => k >= cut);
    this.#queue.push({ do: "remove", start: 0, end: cut });
    this.#pump();
  }

  /** Forgets everything. */
  clear() {
    this.#queue = this.#queue.filter((o) => o.do !== "append" || o.init);
    this.#keys = [];
    this.#needsKey = this.#video;
    this.#queue.push({ do: "remove", start: 0, end: Infinity });
    this.#pump();
  }

  #pump() {
    if (this.#source.updating || this.#queue.length === 0) return;
    try {
      const o = this.#queue[0];
      if (o.do === "append") return this.#append();
      this.#queue.shift();
      if (o.do === "remove") return this.#source.remove(o.start, o.end);
      this.#source.changeType(o.mime);
      this.#pump();
    } catch (e) {
      this.#onerror(/** @type {Error} */ (e));
    }
  }

  #append() {
    const parts = [];
    let size = 0;
    for (const o of this.#queue) {
      if (o.do !== "append" || (size > 0 && size + o.bytes.length > APPEND)) break;
      parts.push(o.bytes);
      size += o.bytes.length;
    }
    try {
      this.#source.appendBuffer(parts.length === 1 ? parts[0] : concat(parts));
      this.#queue.splice(0, parts.length);
    } catch (e) {
      if (/** @type {Error} */ (e).name !== "QuotaExceededError") throw e;
      this.#full();
    }
  }

  /** The browser holds as much as it wants to: makes room, or gives up what waits. */
  #full() {
    const range = this.range;
    if (!range) throw new Error(`${this.mime}: the browser takes no more`);
    this.#needsKey = this.#video;
    this.#queue = this.#queue.filter((o) => o.do !== "append" || o.init);
    this.#keys = [];
    this.#queue.unshift({ do: "remove", start: 0, end: range.end });
    this.#pump();
  }
}

/** @param {Uint8Array} a @param {Uint8Array} b */
function same(a, b) {
  return a.length === b.length && a.every((v, i) => v === b[i]);
}
