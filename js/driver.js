import { ReasonError, reason } from "./reasons.js";
import { Memory, dial } from "./dial.js";
import { Heartbeat } from "./heartbeat.js";
import { Machine } from "./machine.js";
import { randomKey } from "./plain.js";
import { Servers } from "./servers.js";
import { Timers } from "./timers.js";

/**
 * @typedef {import("./reasons.js").Reason} Reason
 * @typedef {import("./dial.js").Wire} Wire
 * @typedef {import("./options.js").Options} Options
 *
 * @typedef {object} Owner  who is told
 * @property {(o: import("./machine.js").StateOut & {delay?: number}) => void} state
 * @property {(event: import("./machine.js").Event) => void} event
 * @property {(media: import("./protocol.js").Media) => void} fragment
 * @property {(what: {kind: string, from?: string, transport?: string, reason?: Reason, detail?: string}) => void} note
 */

/** After so much of the credentials' life new ones are asked for, give or take a tenth; and the shortest wait before they are asked for again, in ms. */
const RENEW_AT = 0.8, MIN_RENEW = 50;

/** Servers on this machine, which need no network. */
const LOCAL = /^wss?:\/\/(localhost|127\.|\[::1\])/;

/**
 * Keeps a machine connected: attempts under a back-off, the login with its credentials, the heartbeat, and moves to better transports and to other servers.
 */
export class Driver {
  /** The address of the attempt or session; "" before the first. */
  server = "";
  /** What carries the session, or did last. */
  transport = "";
  /** The attempt, counted from 1 since the last login. */
  attempt = 0;
  /** Bytes and messages received since the start. */
  received = { bytes: 0, messages: 0 };
  machine;
  heartbeat = new Heartbeat(
    () => {
      let id = 0;
      this.do((m) => (id = m.ping()));
      return id;
    },
    () => this.do((m) => m.giveUp(reason("timeout", "the server was silent"))),
  );

  #o;
  #owner;
  #servers;
  #memory = new Memory();
  #timers = new Timers();
  /** @type {Wire | undefined} */
  #wire;
  #hangUpDial = () => {};
  #hangUpMove = () => {};
  #running = false;
  /** What is to be sent on the wire. @type {string[]} */
  #outgo = [];
  #failures = 0; // that the back-off counts
  #since = 0; // when the session was logged in; 0 when it is not
  #opened = 0; // when the connection was, 0 where none is, and when the last message came on it
  #heard = 0;
  #draining = false; // the server has asked to move, so the next attempt goes elsewhere
  #ends = 0; // when the credentials do

  /** @param {Options} o @param {Owner} owner */
  constructor(o, owner) {
    this.#o = o;
    this.#owner = owner;
    this.#servers = new Servers(o.groups, o.random);
    this.machine = new Machine({ client: o.name, token: o.token, provider: o.credentials !== undefined, publisher: randomKey(), maxPending: o.maxPending, maxHeld: o.maxHeld });
  }

  start() {
    this.#failures = this.attempt = 0;
    this.#servers.again();
    this.server = this.#servers.next();
    this.transport = this.#o.transports[0];
    this.#listen(true);
    this.do((m) => m.connect());
  }

  /** Makes the next attempt at once instead of after the back-off. */
  retry() {
    if (!["failed", "lost", "unreachable", "credentials_retrieval_failed"].includes(this.machine.state)) return;
    const stay = ["lost", "unreachable"].includes(this.machine.state) && !this.#draining;
    if (!stay) this.server = this.#servers.after(this.server);
    this.#draining = false;
    this.do((m) => m.retry());
  }

  /** Tells the machine something, and does what it says; what callbacks ask meanwhile comes after. @param {(m: Machine) => void} tell */
  do(tell) {
    tell(this.machine);
    if (this.#running) return;
    this.#running = true;
    try {
      while (this.machine.out.length > 0) for (const o of this.machine.out.splice(0)) this.#output(o);
    } finally {
      this.#running = false;
      this.#flush();
    }
  }

  /** @param {import("./machine.js").Output} o */
  #output(o) {
    if (o.do === "send") this.#outgo.push(o.text);
    else if (o.do === "close") this.#hangUp(o.reason);
    else if (o.do === "state") this.#entered(o);
    else if (o.do === "fragment") this.#owner.fragment(o.media);
    else if (o.event.t === "pong") this.heartbeat.pong(o.event);
    else if (o.event.t === "drain") this.#drain(o.event);
    else if (o.event.t === "renewed") this.#renewed(o.event);
    else this.#owner.event(o.event);
  }

  #flush() {
    const texts = this.#outgo.splice(0);
    if (texts.length > 0) this.#wire?.send(texts);
  }

  /** @param {import("./machine.js").StateOut} o */
  #entered(o) {
    const { to, from } = o;
    let delay;
    if (to === "connecting") this.#dial();
    else if (to === "retrieving_credentials") this.#askCredentials();
    else if (to === "logged_in" && from !== "paused") this.#loggedIn();
    else if (["failed", "lost", "unreachable"].includes(to) || (to === "credentials_retrieval_failed" && o.reason?.retry)) {
      if (o.reason && to !== "unreachable") this.#broke(o.reason);
      delay = this.#backOff();
    }
    else if (to === "disconnected") this.#stopped();
    this.#owner.state({ ...o, delay });
    if (to === "logged_in") this.attempt = 0;
  }

  // Attempts.

  #dial() {
    this.#leave();
    this.attempt++;
    this.#hangUpDial = dial(this.server, this.#o, this.#memory, {
      opened: (wire) => {
        this.#hangUpDial = () => {};
        this.#use(wire);
        this.#timers.set("login", this.#o.loginTimeout + (this.#o.credentials ? this.#o.credentialsTimeout : 0), () =>
          this.do((m) => m.giveUp(reason("timeout", "no answer to the login"))));
        this.do((m) => m.opened());
      },
      failed: (r) => this.#failed(r),
    });
    this.#timers.set("login", this.#o.connectTimeout, () => {
      this.#hangUpDial();
      this.#failed(reason("timeout", "no connection in time"));
    });
  }

  /** @param {Reason} r */
  #failed(r) {
    this.do((m) => (this.#offline() ? m.unreachable() : m.broken(r)));
  }

  /** @param {Wire} wire */
  #use(wire) {
    this.#wire = wire;
    this.#opened = this.#heard = performance.now();
    this.transport = wire.transport;
    const mine = (/** @type {(m: Machine) => void} */ tell) => void (this.#wire === wire && this.do(tell));
    wire.onmessage = (data) => this.#wire === wire && this.#received(data);
    wire.onclose = (code, text) => mine((m) => m.closed(code, text));
  }

  /** @param {string | ArrayBuffer | Uint8Array} data */
  #received(data) {
    this.received.messages++;
    this.#heard = performance.now();
    this.received.bytes += typeof data === "string" ? data.length : data.byteLength;
    this.do((m) => m.receive(data));
    this.heartbeat.heard();
    this.#timers.catchUp();
  }

  #loggedIn() {
    this.#timers.clear("login");
    this.#since = performance.now();
    this.#linked();
  }

  /** A welcome came on a connection. */
  #linked() {
    this.heartbeat.start(this.#o.heartbeat ?? this.machine.welcome?.heartbeat ?? 0);
    this.#keepRenewed();
    this.#upgrade(this.#o.upgradeBase);
  }

  /** Remembers of the connection, if one stood, how well its transport holds. @param {Reason} r */
  #broke(r) {
    if (this.#opened === 0 || this.#offline()) return;
    const { server, transport } = this, { stable, transports } = this.#o;
    const end = r.word === "timeout" ? this.#heard : performance.now(); // it was given up some time after it had broken
    if (end - this.#opened >= stable) return this.#memory.stood(server, transport);
    if (r.word !== "lost" && r.word !== "timeout") return; // the server's word
    const held = this.#memory.holds(server, transport);
    this.#memory.broke(server, transport, this.#since > 0);
    const next = this.#memory.order(server, transports)[0];
    if (held && !this.#memory.holds(server, transport) && next !== transport) {
      this.#owner.note({ kind: "transport", from: transport, transport: next, reason: r, detail: `${transport} does not hold` });
    }
  }

  /** Plans the next attempt. Only a session that stood for a while makes the back-off start anew. @returns {number} ms */
  #backOff() {
    this.#leave();
    if (this.#since > 0 && performance.now() - this.#since >= this.#o.stable) {
      this.#failures = 0;
      this.#servers.again();
    }
    this.#since = 0;
    const delay = this.#o.random() * Math.min(this.#o.backoffMax, this.#o.backoffMin * 2 ** this.#failures++);
    this.#timers.set("retry", delay, () => this.retry());
    return delay;
  }

  /** Leaves the connection; nothing that it still says counts. @param {Reason} r */
  #hangUp(r) {
    this.#flush();
    const wire = this.#wire;
    this.#wire = undefined;
    if (wire) wire.onmessage = wire.onclose = undefined;
    wire?.close(r.code, r.word);
  }

  /** The connection, if any, is no longer used, and none is sought. */
  #leave() {
    this.#hangUpDial();
    this.#hangUpMove();
    this.#outgo = [];
    this.#hangUp(reason("lost")); // not "done": the server keeps the session
    this.#opened = 0;
    this.heartbeat.stop();
    this.#timers.clearAll();
  }

  #stopped() {
    this.#flush();
    this.#leave();
    this.#listen(false);
    this.#since = 0;
  }

  // Credentials.

  /** Asks the provider, and bounds how long that may take. @param {boolean} renewal @returns {Promise<string>} */
  async #credentials(renewal) {
    const { credentials, credentialsTimeout, token } = this.#o;
    if (!credentials) return token;
    const stop = new AbortController();
    const late = new ReasonError("credentials", reason("timeout", `no credentials within ${credentialsTimeout} ms`));
    const timer = setTimeout(() => stop.abort(late), credentialsTimeout);
    const aborted = new Promise((_, no) => stop.signal.addEventListener("abort", () => no(late)));
    try {
      return /** @type {string} */ (await Promise.race([credentials({ user: this.machine.user, renewal, signal: stop.signal }), aborted])) ?? "";
    } finally {
      clearTimeout(timer);
    }
  }

  async #askCredentials() {
    const wire = this.#wire;
    try {
      const token = await this.#credentials(false);
      if (this.#wire === wire) this.do((m) => m.credentials(token));
    } catch (e) {
      if (this.#wire === wire) this.do((m) => m.credentialsFailed(providerFailed(e)));
    }
  }

  /** Plans to ask for new credentials before the old ones end. */
  #keepRenewed() {
    const left = this.machine.lifetime;
    this.#timers.clear("renew");
    if (!this.#o.credentials || left <= 0) return;
    this.#ends = performance.now() + left;
    this.#timers.set("renew", Math.max(MIN_RENEW, left * (RENEW_AT + (this.#o.random() - 0.5) / 5)), () => this.#renew());
  }

  async #renew() {
    const wire = this.#wire;
    const soon = () => Math.max(MIN_RENEW, (this.#ends - performance.now()) / 4);
    if (performance.now() >= this.#ends) return; // the server ejects
    try {
      const token = await this.#credentials(true);
      if (this.#wire !== wire) return;
      this.#timers.set("renew", this.#o.loginTimeout, () => this.#renew()); // where no answer comes
      this.do((m) => m.renew(token));
    } catch (e) {
      if (this.#wire !== wire) return;
      this.#owner.note({ kind: "error", reason: providerFailed(e), detail: "credentials" });
      this.#timers.set("renew", soon(), () => this.#renew());
    }
  }

  /** The server's answer to new credentials. @param {import("./machine.js").Renewed} m */
  #renewed(m) {
    if (!m.reason) return this.#keepRenewed();
    this.#owner.note({ kind: "error", reason: m.reason, detail: "credentials" });
    this.#timers.set("renew", Math.max(MIN_RENEW, (this.#ends - performance.now()) / 4), () => this.#renew());
  }

  // Moves.

  /** Tries now and then to get from a fallback back to a transport that comes before it, unless that is a fallback, too. @param {number} wait  about how long until then */
  #upgrade(wait) {
    this.#timers.clear("upgrade");
    const { transports } = this.#o;
    const better = transports.slice(0, transports.findIndex((t) => t === this.transport)).filter((t) => t === "websocket" || t === "webrtc");
    if (better.length === 0) return;
    if (better.every((t) => !this.#memory.holds(this.server, t))) wait = this.#o.upgradeMax;
    this.#timers.set("upgrade", wait * (0.5 + this.#o.random() / 2), async () => {
      const wire = this.#wire;
      const o = { ...this.#o, transports: better };
      const moved = await this.#move(this.server, o, this.#o.fallbackAfter);
      if (!moved && this.#wire === wire) this.#upgrade(Math.min(2 * wait, this.#o.upgradeMax));
    });
  }

  /** Moves to another server at a random moment: the one that the session is on is about to stop. @param {import("./protocol.js").Drain} m */
  #drain(m) {
    this.#owner.note({ kind: "drain", reason: m.reason });
    this.#timers.set("drain", this.#o.random() * (m.within ?? 0), async () => {
      this.#draining = true; // the next attempt, too, goes elsewhere
      const wire = this.#wire;
      for (let i = 0; i < this.#servers.count && this.#wire === wire; i++) {
        if (await this.#move(this.#servers.after(this.server), this.#o, this.#o.connectTimeout)) return;
      }
    });
  }

  /**
   * Takes the session to a second connection without a break.
   * @param {string} server @param {import("./dial.js").DialOptions} o @param {number} patience  for the connection, in ms
   * @returns {Promise<boolean>} false when there is none, the server does not take the session, or it is not in a state to move
   */
  async #move(server, o, patience) {
    const first = this.#wire;
    const wire = await this.#dialSecond(server, o, patience);
    if (!wire) return false;
    const token = await this.#credentials(false).catch(() => undefined);
    /** @type {string | undefined} */
    let hello;
    if (token !== undefined && this.#wire === first) this.do((m) => (hello = m.switch(token)));
    if (hello === undefined) {
      wire.close(1000, "");
      return false;
    }
    const text = hello;
    return new Promise((resolve) => {
      const end = (/** @type {boolean} */ moved) => {
        clearTimeout(timer);
        this.#hangUpMove = () => {};
        if (!moved) wire.onmessage = wire.onclose = undefined;
        if (!moved) wire.close(1000, "");
        if (!moved) this.do((m) => m.switchFailed());
        resolve(moved);
      };
      const timer = setTimeout(() => end(false), this.#o.loginTimeout);
      this.#hangUpMove = () => end(false);
      wire.onclose = () => end(false);
      wire.onmessage = (data) => {
        if (typeof data !== "string") return;
        let done = false;
        try {
          this.do((m) => (done = m.switched(data)) && this.#switched(wire, server));
        } catch {
          return end(false);
        }
        if (done) end(true);
      };
      wire.send([text]);
    });
  }

  /** @param {string} server @param {import("./dial.js").DialOptions} o @param {number} patience @returns {Promise<Wire | undefined>} */
  #dialSecond(server, o, patience) {
    return new Promise((resolve) => {
      const end = (/** @type {Wire | undefined} */ wire) => {
        clearTimeout(timer);
        this.#hangUpMove = () => {};
        resolve(wire);
      };
      const stop = dial(server, o, this.#memory, { opened: end, failed: () => end(undefined) });
      const giveUp = () => {
        stop();
        end(undefined);
      };
      const timer = setTimeout(giveUp, patience);
      this.#hangUpMove = giveUp;
    });
  }

  /** The second connection is the session's. @param {Wire} wire @param {string} server */
  #switched(wire, server) {
    const { server: from, transport } = this;
    this.#outgo = []; // the machine sends again what has no answer
    this.#hangUpMove = () => {};
    this.#hangUp({ ...reason("done"), code: 1000 });
    this.#draining = false;
    this.server = server;
    this.#use(wire);
    if (server !== from) this.#owner.note({ kind: "moved", from });
    if (wire.transport !== transport) this.#owner.note({ kind: "transport", from: transport });
    this.#timers.clear("drain");
    this.#linked();
  }

  // The network.

  /** Listens, or no longer, to whether the machine has a network, and to the page being shown again. @param {boolean} on */
  #listen(on) {
    for (const [target, name, f] of /** @type {const} */ ([
      [globalThis, "online", this.#online], [globalThis, "offline", this.#wentOffline], [globalThis.document, "visibilitychange", this.#shown],
    ])) {
      if (on) target?.addEventListener?.(name, f);
      else target?.removeEventListener?.(name, f);
    }
  }

  /** An attempt at once, and a back-off that starts anew: what failed before was the network. */
  #online = () => {
    if (this.machine.state === "unreachable") this.#failures = 0;
    this.retry();
    this.heartbeat.doubt(); // of a connection over the network before
  };

  #wentOffline = () => {
    if (!LOCAL.test(this.server)) this.do((m) => m.unreachable());
  };

  #shown = () => this.#timers.catchUp();

  #offline() {
    return globalThis.navigator?.onLine === false && !LOCAL.test(this.server);
  }
}

/** Why there are no credentials. The provider says by a `reason` in its error whether it may be asked again; without one it may. @param {any} e @returns {Reason} */
function providerFailed(e) {
  const r = e?.reason;
  if (r?.word) return { code: r.code ?? 0, word: r.word, text: r.text ?? "", retry: r.retry ?? false };
  return reason("lost", `credentials: ${e?.message ?? e}`);
}
