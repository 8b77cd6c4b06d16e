/**
 * After so many half heartbeats without a message a connection is given up. They are counted, not measured: a page that slept, or whose timers are slow because it is in
 * the background, reads what came meanwhile before it judges.
 */
const SILENCE = 5;

/**
 * With a doubt, the server has so many times so many ms for a sign of life. They are counted, too, and it is not asked again sooner.
 */
const DOUBTS = 3, DOUBT = 1000;

/** How many exchanges the round trip and the clock offset are the best of. */
const EXCHANGES = 10;

/** Pings at the interval that the server wants, notices silence, and measures the round trip and the server's clock. */
export class Heartbeat {
  /** The shortest round trip of the last ten, in ms. @type {number | undefined} */
  rtt;
  /** How much a round trip differs from the one before it, on average over the last ten, in ms. @type {number | undefined} */
  jitter;
  /** The server's clock less ours, in ms, by the exchange with the shortest round trip. @type {number | undefined} */
  offset;

  #ping;
  #silent;
  #interval = 0;
  #quiet = 0; // half intervals without a message
  #heard = false; // something came in this one
  #pinged = 0;
  /** When each ping was sent. @type {Map<number, number>} */
  #pings = new Map();
  /** @type {{rtt: number, offset: number}[]} */
  #exchanges = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #doubt; // while one is looked into, and until there may be another
  #doubting = false;

  /** @param {() => number} ping  sends one and returns its id @param {() => void} silent  called once, when the server is given up */
  constructor(ping, silent) {
    this.#ping = ping;
    this.#silent = silent;
  }

  /** @param {number} interval  in ms; 0 for no pings */
  start(interval) {
    this.stop();
    if (interval <= 0) return;
    this.#interval = interval;
    this.#quiet = 0;
    this.#send(performance.now());
    this.#wait();
  }

  stop() {
    clearTimeout(this.#timer);
    clearTimeout(this.#doubt);
    this.#doubt = undefined;
    this.#interval = 0;
    this.#pings.clear();
  }

  /** A message came; pings too when it is high time, since the timers of a page in the background are slow. */
  heard() {
    this.#heard = true;
    this.#doubting = false;
    if (this.#interval === 0) return;
    const now = performance.now();
    if (now - this.#pinged > 1.5 * this.#interval) this.#send(now);
  }

  /** Something says that the server may not be reached any more: asks it now, and gives it up sooner than otherwise. */
  doubt() {
    if (this.#interval === 0 || this.#doubt !== undefined) return;
    this.#doubting = true;
    this.#send(performance.now());
    this.#look(DOUBTS);
  }

  /** @param {number} left */
  #look(left) {
    this.#doubt = setTimeout(() => {
      this.#doubt = undefined;
      if (left > 1) this.#look(left - 1);
      else if (this.#doubting) this.#silent();
    }, DOUBT);
  }

  /** @param {{id: number, at?: number}} m */
  pong(m) {
    const sent = this.#pings.get(m.id);
    if (sent === undefined) return;
    this.#pings.delete(m.id);
    const rtt = performance.now() - sent;
    this.#exchanges.push({ rtt, offset: (m.at ?? NaN) + rtt / 2 - Date.now() });
    this.#exchanges = this.#exchanges.slice(-EXCHANGES);
    const best = this.#exchanges.reduce((a, b) => (b.rtt < a.rtt ? b : a));
    const steps = this.#exchanges.slice(1).map((e, i) => Math.abs(e.rtt - this.#exchanges[i].rtt));
    this.rtt = best.rtt;
    this.jitter = steps.length > 0 ? steps.reduce((a, b) => a + b) / steps.length : undefined;
    this.offset = Number.isNaN(best.offset) ? undefined : best.offset;
  }

  /** Looks twice an interval. */
  #wait() {
    this.#timer = setTimeout(() => {
      this.#quiet = this.#heard ? 0 : this.#quiet + 1;
      this.#heard = false;
      if (this.#quiet >= SILENCE) return this.#silent();
      const now = performance.now();
      if (now - this.#pinged > 0.9 * this.#interval) this.#send(now);
      this.#wait();
    }, this.#interval / 2);
  }

  /** @param {number} now */
  #send(now) {
    this.#pinged = now;
    const id = this.#ping();
    if (id > 0) this.#pings.set(id, now);
  }
}
