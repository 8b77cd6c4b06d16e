/** The order in which servers are tried: group after group, those of a group in an order that is drawn anew in each round. */
export class Servers {
  #groups;
  #random;
  /** @type {string[]} */
  #queue = [];
  /** How many there are. */
  count;

  /** @param {string[][]} groups @param {() => number} random */
  constructor(groups, random) {
    this.#groups = groups;
    this.#random = random;
    this.count = groups.flat().length;
  }

  /** The server that is to be tried next. @returns {string} */
  next() {
    if (this.#queue.length === 0) this.#queue = this.#groups.flatMap((g) => shuffled(g, this.#random));
    return /** @type {string} */ (this.#queue.shift());
  }

  /** The server that is to be tried after another: not the same one again, if there are others. @param {string} last */
  after(last) {
    const next = this.next();
    return next === last && this.count > 1 ? this.next() : next;
  }

  /** Begins with the first group. */
  again() {
    this.#queue = [];
  }
}

/** @param {string[]} list @param {() => number} random */
function shuffled(list, random) {
  const all = [...list];
  for (let i = all.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [all[i], all[j]] = [all[j], all[i]];
  }
  return all;
}
