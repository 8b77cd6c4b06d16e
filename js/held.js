/**
 * @typedef {import("./protocol.js").ServerMessage} ServerMessage
 * @typedef {import("./protocol.js").Media} Media
 */

/** Beyond so many bytes that came during a pause the connection is given up, which loses nothing that the server keeps. */
const MAX_HELD = 8 << 20;

/** What a message that is kept counts besides its size. */
const OVERHEAD = 64;

/** What is kept: all that the application would get for what it follows. */
const WAITS = new Set(["snapshot", "update", "gap", "status", "media", "window", "wanted", "drain"]);

/** What came during a pause. */
export class Held {
  /** The most bytes of it. */
  most;
  /** The reason for which the server ended the session meanwhile. @type {import("./reasons.js").Reason | undefined} */
  end;
  /** @type {(ServerMessage | Media)[]} */
  #list = [];
  #size = 0;

  /** @param {number} [most] */
  constructor(most) {
    this.most = most || MAX_HELD;
  }

  /** Whether a message waits for the end of the pause; answers and pings do not. @param {ServerMessage} m */
  waits(m) {
    return WAITS.has(m.t);
  }

  /** @param {ServerMessage | Media} m @param {number} size @returns {boolean} false when it is too much */
  add(m, size) {
    if (this.#size + size + OVERHEAD > this.most) return false;
    this.#size += size + OVERHEAD;
    this.#list.push(m);
    return true;
  }

  /** Empties it. */
  take() {
    const list = this.#list, end = this.end;
    this.#list = [];
    this.#size = 0;
    this.end = undefined;
    return { list, end };
  }
}
