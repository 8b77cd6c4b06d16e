import { hasPair } from "./ice.js";

/**
 * Looks at one WebRTC connection by its numbers and says what speaks against it. No clock in here.
 *
 * @typedef {import("./ladder.js").PeerEvidence} PeerEvidence
 * @typedef {{why: string, final: boolean}} Fault  final: it does not heal
 * @typedef {{at: number, received: number, decoded: number}} Sample
 */

/** So many frames must have come before their number says something. */
const FRAMES = 5;

/** How far back the numbers are kept, in ms: a stream of one frame a second is judged too. */
const PAST = 6000;

/** A stream of few frames a second may be silent for so many of them, but not for longer than so many ms. */
const PATIENCE = 3, PATIENT = 2500;

export class Watch {
  /** Since when there was no fault and frames were decoded as they came; Infinity while that is not so. */
  steadySince = Infinity;
  /** It has had all the time that it may have. */
  hopeless = false;

  #o;
  #began = 0;
  #checking = 0; // when ICE began to check
  #paired = 0; // when it had a pair
  #connected = 0; // when DTLS was up, too
  #bytes = 0;
  #grew = 0; // when they did
  #decoded = 0;
  #moved = 0; // when a frame was decoded
  /** @type {Sample[]} */
  #past = [];

  /** @param {import("./ladder.js").LadderOptions & typeof import("./ladder.js").LADDER} o */
  constructor(o) {
    this.#o = o;
  }

  /** A connection begins. @param {number} now */
  begin(now) {
    this.steadySince = Infinity;
    this.hopeless = false;
    this.#began = this.#grew = this.#moved = now;
    this.#checking = this.#paired = this.#connected = this.#bytes = this.#decoded = 0;
    this.#past = [];
  }

  /**
   * @param {number} now @param {PeerEvidence} p
   * @param {{live: boolean, interval?: number}} stream
   * @param {boolean} needed  the picture comes by it
   * @returns {Fault | undefined}
   */
  look(now, p, stream, needed) {
    const at = p.at ?? now;
    this.#follow(now, p);
    this.#count(at, p, stream);
    const fault = this.#over(p) ?? this.#late(now, p) ?? this.#mute(at, p, stream, needed);
    if (fault || !this.#connected || !this.#smooth(at, p, stream)) this.steadySince = Infinity;
    else if (this.steadySince === Infinity) this.steadySince = now;
    if (fault || needed || !this.#connected || !stream.live || now - this.#connected < this.#o.prove) return fault;
    this.hopeless = true;
    return this.steadySince === Infinity ? soft(`frames were not decoded steadily within ${this.#o.prove} ms`) : undefined;
  }

  /** Notes when the states were reached. @param {number} now @param {PeerEvidence} p */
  #follow(now, p) {
    if (p.ice === "checking" || (p.ice === "new" && p.answered)) this.#checking ||= now;
    else this.#checking = 0;
    if (hasPair(p.ice)) this.#paired ||= now;
    if (hasPair(p.ice) && p.connection === "connected" && !this.#connected) this.#connected = this.#grew = this.#moved = now;
  }

  /** Notes when the numbers grew. @param {number} at @param {PeerEvidence} p @param {{live: boolean}} stream */
  #count(at, p, { live }) {
    if (p.bytes !== this.#bytes || !live) this.#grew = at;
    if (p.decoded !== this.#decoded || this.#bytes === 0 || !live) this.#moved = at;
    this.#bytes = p.bytes;
    this.#decoded = p.decoded;
    if (this.#past.at(-1)?.at === at) return;
    this.#past.push({ at, received: p.received, decoded: p.decoded });
    while (this.#past[0].at < at - PAST) this.#past.shift();
  }

  /** @param {PeerEvidence} p @returns {Fault | undefined} */
  #over(p) {
    if (p.ended) return { why: p.ended.text || p.ended.word, final: true };
    if (p.ice === "failed" || p.ice === "closed") return { why: `ICE ${p.ice}`, final: true };
    return undefined;
  }

  /** What does not come about. @param {number} now @param {PeerEvidence} p @returns {Fault | undefined} */
  #late(now, p) {
    const { answer, checking, dtls } = this.#o;
    if (!p.answered && p.ice === "new" && now - this.#began >= answer) return { why: `no answer to the offer within ${answer} ms`, final: true };
    const checked = now - this.#checking, what = p.ice === "new" ? "had nothing to check" : "checked";
    if (this.#checking > 0 && !this.#paired && checked >= checking) return { why: `ICE ${what} for ${Math.round(checked)} ms and found no pair`, final: true };
    if (this.#paired > 0 && !this.#connected && now - this.#paired >= dtls) return { why: `no DTLS ${Math.round(now - this.#paired)} ms after ICE had a pair`, final: true };
    return undefined;
  }

  /**
   * What no longer comes, or cannot be used.
   * @param {number} at @param {PeerEvidence} p @param {{live: boolean, interval?: number}} stream @param {boolean} needed
   * @returns {Fault | undefined}
   */
  #mute(at, p, stream, needed) {
    if (p.ice === "disconnected") return soft("ICE disconnected");
    if (!this.#connected) return undefined;
    const quiet = at - this.#grew, still = at - this.#moved;
    if (quiet >= this.#patience(stream, needed || p.bytes > 0 ? this.#o.silent : this.#o.first)) return soft(`nothing came for ${Math.round(quiet)} ms`);
    if (!p.video) return undefined;
    const few = this.#undecoded(at, p);
    if (few) return soft(few);
    if (needed && still >= this.#patience(stream, this.#o.frozen)) return soft(`no frame was decoded for ${Math.round(still)} ms, though bytes came`);
    return undefined;
  }

  /** @param {{interval?: number}} stream @param {number} limit */
  #patience({ interval = 0 }, limit) {
    return Math.max(limit, Math.min(PATIENT, PATIENCE * interval));
  }

  /** Frames are received whole and come to nothing: a browser has no use for those that are sent in another order than shown. @param {number} at @param {PeerEvidence} p */
  #undecoded(at, p) {
    const from = this.#past.findLast((s) => at - s.at >= this.#o.undecoded && p.received - s.received >= FRAMES);
    if (!from) return "";
    const received = p.received - from.received, decoded = p.decoded - from.decoded;
    return decoded * 2 < received ? `${decoded} of ${received} frames decoded in ${Math.round(at - from.at)} ms` : "";
  }

  /** @param {number} at @param {PeerEvidence} p @param {{interval?: number}} stream */
  #smooth(at, p, stream) {
    if (!hasPair(p.ice) || p.bytes === 0) return false;
    return !p.video || (p.decoded > 0 && at - this.#moved < this.#patience(stream, this.#o.silent));
  }
}

/** @param {string} why @returns {Fault} */
function soft(why) {
  return { why, final: false };
}
