/**
 * Where the playhead of a live player should be, and how fast: near the end of what is buffered, gently. No clock and no video in here.
 *
 * @typedef {{start: number, end: number}} Range  of what is buffered, in seconds
 * @typedef {{rate: number, seek?: number, why?: "start" | "hole" | "behind"}} Move
 */

/** The rates are kept within 1 ± so much, where a listener does not mind. */
const NUDGE = 0.08;

/** A lag that differs from the target by less than so many seconds is left alone once it was reached. */
const CLOSE = 0.06, FAR = 0.2;

/** Each stall adds so many seconds to the target; each quiet while takes some back. */
const STALL = 0.15, CALM = 0.02;

/** A playhead so near the end of a range, in seconds, has reached it. */
const EDGE = 0.1;

/** A seek goes so many seconds into a range, since rounding may put its start a little later. */
const INSIDE = 0.005;

export class Edge {
  /** How far behind the end the playhead should be now, in seconds. */
  target;
  /** How far it is, smoothed; undefined before the start. @type {number | undefined} */
  lag;

  #least;
  #most;
  #jump;
  #nudging = false;
  #stalled = false;

  /** @param {{latency: number, maxLatency: number, jump: number}} o  seconds: the target, the most that stalls may make of it, and how far behind is too far for nudges */
  constructor({ latency, maxLatency, jump }) {
    this.target = this.#least = latency;
    this.#most = Math.max(latency, maxLatency);
    this.#jump = jump;
  }

  /** What is buffered begins anew: the next step seeks to its place. */
  reset() {
    this.lag = undefined;
    this.#nudging = false;
  }

  /** Playback ran dry. */
  stalled() {
    this.#stalled = true;
    this.target = Math.min(this.#most, this.target + STALL);
  }

  /** A while passed without a stall. */
  calm() {
    this.target = Math.max(this.#least, this.target - CALM);
  }

  /**
   * @param {number} time  of the playhead, in seconds
   * @param {Range[]} ranges
   * @returns {Move}
   */
  step(time, ranges) {
    const last = ranges.at(-1);
    if (!last) return { rate: 1 };
    if (this.lag === undefined) return this.#seek(last, "start");
    const here = ranges.find((r) => time >= r.start - INSIDE && time < r.end);
    const next = ranges.find((r) => r.start > time);
    if (next && (!here || here.end - time < EDGE)) {
      if (this.#stalled) this.target = Math.max(this.#least, this.target - STALL); // no latency helps against a hole
      return this.#seek(next, "hole");
    }
    const lag = last.end - time;
    if (lag > EDGE) this.#stalled = false;
    if (lag > this.target + this.#jump) return this.#seek(last, "behind");
    this.lag += (lag - this.lag) / 5;
    return { rate: this.#rate(this.lag - this.target) };
  }

  /** @param {Range} range @param {"start" | "hole" | "behind"} why @returns {Move} */
  #seek(range, why) {
    const seek = why === "hole" ? range.start + INSIDE : Math.max(range.start + INSIDE, range.end - this.target);
    this.lag = range.end - seek;
    this.#nudging = this.#stalled = false;
    return { rate: 1, seek, why };
  }

  /** @param {number} behind  of the target, in seconds; negative for too near */
  #rate(behind) {
    if (Math.abs(behind) > FAR) this.#nudging = true;
    else if (Math.abs(behind) < CLOSE) this.#nudging = false;
    if (!this.#nudging) return 1;
    const nudge = Math.max(-NUDGE, Math.min(NUDGE, behind / 4));
    return 1 + Math.round(nudge * 100) / 100;
  }
}
