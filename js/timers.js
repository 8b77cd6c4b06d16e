/** The longest that setTimeout can wait, in ms. */
const LONGEST = 2 ** 31 - 1;

/**
 * Timers by name. Those of a page in the background may run a minute late and more; whoever notices that time has passed, by a message
 * or by the page being shown again, calls catchUp.
 */
export class Timers {
  /** @type {Map<string, {id: ReturnType<typeof setTimeout>, at: number, f: () => void}>} */
  #timers = new Map();
  #soonest = Infinity;

  /** Replaces the timer of that name. @param {string} name @param {number} ms @param {() => void} f */
  set(name, ms, f) {
    this.clear(name);
    const wait = Math.min(ms, LONGEST), at = performance.now() + wait;
    this.#timers.set(name, { id: setTimeout(() => this.#run(name), wait), at, f });
    this.#soonest = Math.min(this.#soonest, at);
  }

  /** @param {string} name */
  clear(name) {
    clearTimeout(this.#timers.get(name)?.id);
    this.#timers.delete(name);
  }

  clearAll() {
    for (const name of [...this.#timers.keys()]) this.clear(name);
  }

  /** Runs what is overdue. */
  catchUp() {
    const now = performance.now();
    if (now < this.#soonest) return;
    for (const [name, t] of [...this.#timers]) if (t.at <= now && this.#timers.get(name) === t) this.#run(name);
    this.#soonest = Math.min(Infinity, ...[...this.#timers.values()].map((t) => t.at));
  }

  /** @param {string} name */
  #run(name) {
    const t = this.#timers.get(name);
    this.clear(name);
    t?.f();
  }
}
