import { ProtocolError } from "./protocol.js";

/**
 * A session's messages on a data channel (docs/protocol.md): a text that fits is a text message; what is binary, and what does not fit, goes in binary messages whose first byte says
 * what the rest is.
 */

/** The most bytes of a message of the channel: what every browser and stack passes on whole. */
export const MAX_PIECE = 16 << 10;

/** The most bytes of a message that is put together. */
export const MAX_JOINED = 32 << 20;

/** First bytes. */
const WHOLE = 0, PART = 1, LAST = 2, TEXT_PART = 3, TEXT_LAST = 4, CLOSE = 5;

const utf8 = new TextEncoder();

/**
 * The messages of the channel for one of the session.
 * @param {string} text
 * @returns {Generator<string | Uint8Array<ArrayBuffer>>}
 */
export function* pieces(text) {
  if (text.length * 3 <= MAX_PIECE) return void (yield text);
  const bytes = utf8.encode(text), room = MAX_PIECE - 1;
  if (bytes.length <= MAX_PIECE) return void (yield text);
  for (let at = 0; at < bytes.length; at += room) {
    const part = bytes.subarray(at, at + room), piece = new Uint8Array(part.length + 1);
    piece[0] = at + room < bytes.length ? TEXT_PART : TEXT_LAST;
    piece.set(part, 1);
    yield piece;
  }
}

/**
 * What a message of the channel says when the sender closes: code and word.
 * @param {string | ArrayBuffer} message
 * @returns {{code: number, word: string} | undefined}
 */
export function closing(message) {
  if (typeof message === "string" || new Uint8Array(message)[0] !== CLOSE) return undefined;
  const [code, word = ""] = new TextDecoder().decode(new Uint8Array(message).subarray(1)).split(" ");
  return { code: Number(code) || 1006, word };
}

/** Puts the messages of the session together again. */
export class Joiner {
  /** @type {Uint8Array[]} */
  #parts = [];
  #size = 0;
  #text = false;

  /**
   * @param {string | ArrayBuffer} message  of the channel
   * @returns {string | Uint8Array | undefined} undefined while there is more to come
   * @throws {ProtocolError}
   */
  push(message) {
    if (typeof message === "string") return this.#alone(message);
    const bytes = new Uint8Array(message), rest = bytes.subarray(1);
    switch (bytes[0]) {
      case WHOLE:
        return this.#alone(rest);
      case PART:
      case LAST:
        return this.#part(rest, false, bytes[0] === LAST);
      case TEXT_PART:
      case TEXT_LAST:
        return this.#part(rest, true, bytes[0] === TEXT_LAST);
    }
    return undefined; // of a later version
  }

  /** @template T @param {T} message */
  #alone(message) {
    if (this.#parts.length > 0) throw new ProtocolError("data channel: a message within the parts of another");
    return message;
  }

  /** @param {Uint8Array} part @param {boolean} text @param {boolean} last */
  #part(part, text, last) {
    if (this.#parts.length > 0 && text !== this.#text) throw new ProtocolError("data channel: parts of a text and of a binary message are mixed");
    this.#size += part.length;
    if (this.#size > MAX_JOINED) throw new ProtocolError(`data channel: a message of more than ${MAX_JOINED} bytes`);
    this.#parts.push(part);
    this.#text = text;
    if (!last) return undefined;
    const all = new Uint8Array(this.#size);
    let at = 0;
    for (const p of this.#parts) {
      all.set(p, at);
      at += p.length;
    }
    this.#parts = [];
    this.#size = 0;
    if (!text) return all;
    try {
      return new TextDecoder("utf-8", { fatal: true }).decode(all);
    } catch {
      throw new ProtocolError("data channel: a text is not UTF-8");
    }
  }
}
