/**
 * Data and the frames that it belongs to: what has a media time is held until the frame nearest to that time is presented.
 * No clock and no video in here: the player says which frame is presented.
 *
 * @typedef {{mediaTime: number, late: boolean}} Frame  seconds; late: the frame that the data belongs to was presented before the data came
 */

/** How many frame intervals the usual one is the median of. */
const INTERVALS = 15;

/** The frame interval before any is known, in seconds. */
const USUAL = 1 / 30;

/** @template T */
export class Frames {
  /** In order of time; those of one time in order of arrival. @type {{time: number, value: T}[]} */
  #held = [];
  #limit;
  #emit;
  /** @type {number[]} */
  #intervals = [];
  #median = USUAL;
  /** @type {number | undefined} */
  #decode;
  /** The presentation time of the frame that is shown, in seconds. @type {number | undefined} */
  shown;

  /**
   * @param {(value: T, frame: Frame | null) => void} emit  frame is null for what no frame was found for
   * @param {number} [limit]  how many values are held at most; beyond it the earliest are handed out too soon
   */
  constructor(emit, limit = 10_000) {
    this.#emit = emit;
    this.#limit = limit;
  }

  /** How many values wait for their frames. */
  get held() {
    return this.#held.length;
  }

  /** The usual interval between frames, in seconds. */
  get interval() {
    return this.#median;
  }

  /** A video frame was received, with its decode time in seconds. @param {number} dts */
  received(dts) {
    const interval = this.#decode === undefined ? 0 : dts - this.#decode;
    this.#decode = dts;
    if (interval <= 0 || interval > 1) return;
    this.#intervals.push(interval);
    if (this.#intervals.length > INTERVALS) this.#intervals.shift();
    this.#median = [...this.#intervals].sort((a, b) => a - b)[this.#intervals.length >> 1];
  }

  /** Something came that belongs to a time, in seconds. @param {number} time @param {T} value */
  hold(time, value) {
    if (this.shown !== undefined && this.#reached(time, this.shown)) {
      this.#emit(value, { mediaTime: this.shown, late: this.shown - time > this.#median / 2 });
      return;
    }
    let at = this.#held.length;
    while (at > 0 && this.#held[at - 1].time > time) at--;
    this.#held.splice(at, 0, { time, value });
    if (this.#held.length > this.#limit) this.#emit(this.#held.splice(0, 1)[0].value, null);
  }

  /** A frame is presented: hands out what belongs to it, and what belonged to frames that were not presented. @param {number} mediaTime  in seconds */
  present(mediaTime) {
    this.shown = mediaTime;
    let n = 0;
    while (n < this.#held.length && this.#reached(this.#held[n].time, mediaTime)) n++;
    for (const { value } of this.#held.splice(0, n)) this.#emit(value, { mediaTime, late: false });
  }

  /** No frames come for what is held: hands it out without. */
  release() {
    this.shown = this.#decode = undefined;
    for (const { value } of this.#held.splice(0)) this.#emit(value, null);
  }

  /** @param {number} time @param {number} mediaTime */
  #reached(time, mediaTime) {
    return time <= mediaTime + this.#median / 2;
  }
}
