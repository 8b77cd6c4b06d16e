import { Queue, guard } from "./subscription.js";

/**
 * Keeps the recent past for any number of observers: each gets what is kept and then what comes, in order, also when it is late or slow, or makes more happen while it
 * looks.
 * @template T
 */
export class History {
  /** What is kept, oldest first. @type {T[]} */
  kept = [];
  #limit;
  #next = 0; // how many there were
  /** @type {Set<{f: (e: T) => void, next: number, busy: boolean}>} */
  #observers = new Set();

  /** @param {number} limit */
  constructor(limit) {
    this.#limit = limit;
  }

  /** @param {T} e */
  add(e) {
    this.kept.push(e);
    this.#next++;
    if (this.kept.length > this.#limit) this.kept.shift();
    for (const o of this.#observers) this.#tell(o);
  }

  /** @param {(e: T) => void} f  called with what is kept before this returns @returns {() => void} ends it */
  observe(f) {
    const o = { f, next: 0, busy: false };
    this.#observers.add(o);
    this.#tell(o);
    return () => void this.#observers.delete(o);
  }

  /** What is kept and what comes, for one `for await` loop. @returns {Queue<T>} */
  iterate() {
    /** @type {Queue<T>} */
    const queue = new Queue(() => stop());
    const stop = this.observe((e) => queue.push(e));
    return queue;
  }

  /** @param {{f: (e: T) => void, next: number, busy: boolean}} o */
  #tell(o) {
    if (o.busy) return; // it is told after what it looks at now
    o.busy = true;
    while (o.next < this.#next && this.#observers.has(o)) {
      o.next = Math.max(o.next, this.#next - this.kept.length);
      guard(o.f, this.kept[this.kept.length - (this.#next - o.next++)]);
    }
    o.busy = false;
  }
}
