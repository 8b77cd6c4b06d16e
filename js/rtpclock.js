/** The RTP clock of video (RFC 6184 section 8.2.1 and others). */
const RATE = 90_000;

/** Media time of RTP timestamps, which have 32 bits and begin anew every 13 hours. */
export class RTPClock {
  #rtp = 0;
  #ticks = 0; // that the timestamp means, with all its bits
  #known = false;

  /** Whether it was set. */
  get known() {
    return this.#known;
  }

  /** @param {number} rtp  a timestamp @param {number} time  the media time that it means, in microseconds */
  set(rtp, time) {
    this.#rtp = rtp;
    this.#ticks = (time * RATE) / 1e6;
    this.#known = true;
  }

  /** Where the server has not said it: its timestamps are media time, whose high bits are those of a time nearby. @param {number} seconds */
  near(seconds) {
    const ticks = Math.round(seconds * RATE);
    if (!this.#known) this.set(ticks % 2 ** 32, (ticks * 1e6) / RATE);
  }

  /** The media time of a timestamp in seconds; undefined before the clock was set. Timestamps are within hours of one another. @param {number} rtp @returns {number | undefined} */
  at(rtp) {
    if (!this.#known) return undefined;
    this.#ticks += (rtp - this.#rtp) | 0;
    this.#rtp = rtp;
    return this.#ticks / RATE;
  }
}
