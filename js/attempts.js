/** When WebRTC is tried again: under a back-off that doubles, and that starts anew when there is a reason to. */
export class Attempts {
  /** When the next attempt is due. */
  at = 0;

  #o;
  #failures = 0;

  /** @param {{backoffMin: number, backoffMax: number, random: () => number}} o */
  constructor(o) {
    this.#o = o;
  }

  /** @param {number} now */
  failed(now) {
    const { backoffMin, backoffMax, random } = this.#o;
    const wait = Math.min(backoffMax, backoffMin * 2 ** this.#failures++);
    this.at = now + wait * (0.75 + random() / 2);
  }

  /** The next failure is like a first one. */
  again() {
    this.#failures = 0;
  }
}
