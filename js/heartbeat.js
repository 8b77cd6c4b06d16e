/** A connection is given up after so many heartbeats without a message. */
const SILENCE = 2.5;

/** How many exchanges the round trip and the clock offset are the best of. */
const EXCHANGES = 10;

/** Pings at the interval that the server wants, notices silence, and measures the round trip and the server's clock. */
export class Heartbeat {
  /** The shortest round trip of the last ten, in ms. @type {number | undefined} */
  rtt;
  /** The server's clock less ours, in ms, by the exchange with the shortest round trip. @type {number | undefined} */
  offset;

  #ping;
  #silent;
  #interval = 0;
  #heard = 0;
  #pinged = 0;
  /** When each ping was sent. @type {Map<number, number>} */
  #pings = new Map();
  /** @type {{rtt: number, offset: number}[]} */
  #exchanges = [];
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #timer;

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
    this.#heard = performance.now();
    this.#send(this.#heard);
    this.#wait(this.#heard);
  }

  stop() {
    clearTimeout(this.#timer);
    this.#interval = 0;
    this.#pings.clear();
  }

  /** A message came; pings too when it is high time, since the timers of a page in the background are slow. */
  heard() {
    this.#heard = performance.now();
    if (this.#interval > 0 && this.#heard - this.#pinged > 1.5 * this.#interval) this.#send(this.#heard);
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
    this.rtt = best.rtt;
    this.offset = Number.isNaN(best.offset) ? undefined : best.offset;
  }

  /** Looks twice an interval. @param {number} last  when it looked before */
  #wait(last) {
    this.#timer = setTimeout(() => {
      const now = performance.now(), interval = this.#interval;
      // This program slept: what came meanwhile is still to be read.
      if (now - last > 2 * interval) this.#heard = Math.max(this.#heard, now - interval);
      if (now - this.#heard > SILENCE * interval) return this.#silent();
      if (now - this.#pinged > 0.9 * interval) this.#send(now);
      this.#wait(now);
    }, this.#interval / 2);
  }

  /** @param {number} now */
  #send(now) {
    this.#pinged = now;
    this.#pings.set(this.#ping(), now);
  }
}
