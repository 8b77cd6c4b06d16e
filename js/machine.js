import { VERSION, ProtocolError, parseMedia, parseMessage } from "./protocol.js";
import { ReasonError, reason, reasonByCode, reasonFromWire, wrongVersion } from "./reasons.js";
import { INITIAL, may } from "./states.js";
import { Following, checkPath } from "./follow.js";
import { Held } from "./held.js";
import { Requests } from "./requests.js";

/**
 * @typedef {import("./protocol.js").ClientMessage} ClientMessage
 * @typedef {import("./protocol.js").ServerMessage} ServerMessage
 * @typedef {import("./protocol.js").Media} Media
 * @typedef {import("./reasons.js").Reason} Reason
 *
 * @typedef {{do: "state", from: string, to: string, reason?: Reason}} StateOut
 * @typedef {{do: "send", text: string} | {do: "close", reason: Reason} | StateOut | {do: "event", event: Event} | {do: "fragment", media: Media}} Output
 *
 * @typedef {import("./protocol.js").Snapshot | import("./protocol.js").Update | import("./protocol.js").WindowView | import("./protocol.js").Status | Gap} SubjectEvent
 * @typedef {SubjectEvent | import("./protocol.js").Ack | import("./protocol.js").MediaInfo | import("./protocol.js").Ping | import("./protocol.js").Drain
 *           | import("./protocol.js").ErrorMessage | import("./protocol.js").Result | import("./protocol.js").WantedPath | import("./protocol.js").Signal | Renewed} Event
 *
 * Updates `from` to `to`-1 of a log will not come. Without `to` the subject began a new life (another epoch follows), and
 * how many were lost is not known.
 * @typedef {{t: "gap", path: string, epoch: string, from: number, to?: number}} Gap
 *
 * The answer to renew: when the credentials end now, or why the old ones still hold.
 * @typedef {{t: "renewed", id: number, expires?: number, reason?: Reason}} Renewed
 *
 * Where a subscription starts, and what of the subject is wanted.
 * @typedef {{from?: import("./protocol.js").From, epoch?: string, offset?: number} & import("./protocol.js").Want} Start
 */

/**
 * The client's machine of a session. It does no I/O and reads no clock: what the application asks, what happens to the
 * connection and what the server sends come in by its methods; what to send, changes of state and events for the
 * application come out in `out`, in order. The transcripts in session/testdata say what it does, and the Go client's
 * machine does the same.
 */
export class Machine {
  /** What came out; the owner takes and empties it after each call. @type {Output[]} */
  out = [];
  /** The state's word. */
  state = INITIAL;
  /** The session's name, once welcomed. */
  session = "";
  /** Who the server says this client is; "" without authentication. */
  user = "";
  /** The last welcome. @type {import("./protocol.js").Welcome | undefined} */
  welcome;
  /** A welcome came on the connection that stands. */
  linked = false;

  #options;
  #greeting = false; // a hello was said that has no answer yet
  #moving = false; // the hello was said on a second connection
  /** How the first connection ended while moving. @type {Reason | undefined} */
  #moveEnd;
  /** What is asked while greeting, to be sent after the welcome. @type {ClientMessage[]} */
  #late = [];
  #held;
  #following = new Following((event) => this.#event(event), (m) => this.#request(m));
  #requests;
  #pings = 0;

  /** @param {import("./options.js").MachineOptions} options */
  constructor(options) {
    this.#options = options;
    this.#held = new Held(options.maxHeld);
    this.#requests = new Requests(options.maxPending, (event) => this.#event(event), (text) => this.out.push({ do: "send", text }));
  }

  /** How long after the last login or renewal the credentials end, in ms; 0 when they do not. */
  get lifetime() {
    return this.#requests.lifetime;
  }

  /** Starts the first attempt. It does nothing unless the state is disconnected. */
  connect() {
    if (this.state === "disconnected") this.#to("connecting");
  }

  /** Ends everything; subscriptions are removed. */
  disconnect() {
    if (this.state === "disconnected") return;
    if (this.#online()) {
      this.#send({ t: "bye" });
      this.#close(reason("done"));
    }
    this.#disconnected(reason("done"));
  }

  /**
   * Follows the data of a path, now or as soon as the client is logged in, and over reconnects.
   * @param {string} path @param {Start} [start]
   * @throws {ReasonError} the path makes no sense or is followed already
   */
  subscribe(path, start) {
    this.#following.subscribe(path, start);
  }

  /** @param {string} path */
  unsubscribe(path) {
    this.#following.unsubscribe(path);
  }

  /** Changes the greatest rate of a subscription, in updates a second; 0 stops it, null lets all come. @param {string} path @param {number | null} rate */
  throttle(path, rate) {
    this.#following.throttle(path, rate);
  }

  /**
   * Asks for the media of a path, now or as soon as the client is logged in, and over reconnects.
   * @param {string} path
   * @param {boolean} [resume]  after a reconnect go on at the frame that is next, where the server has it, not at the newest keyframe
   * @throws {ReasonError} the path makes no sense or is played already
   */
  play(path, resume = false) {
    this.#following.play(path, resume);
  }

  /** @param {string} path */
  stop(path) {
    this.#following.stop(path);
  }

  /**
   * Publishes as soon as the client is logged in, and after a break again under the same id.
   * @param {string} path @param {Parameters<Requests["publish"]>[1]} what
   * @returns {number} the id that the ack or the error will have
   * @throws {ReasonError} the path or the data makes no sense, too much waits, or the client is disconnected
   */
  publish(path, what) {
    this.#mayAsk("publish", path);
    return this.#requests.publish(path, what);
  }

  /**
   * Asks the server to do something, as soon as the client is logged in.
   * @param {string} name @param {any} [data]
   * @param {{timeout?: number, resend?: boolean}} [options]  resend: again after a break, under the same id; else it has failed with lost then
   * @returns {number} the id that the result will have
   * @throws {ReasonError} as publish
   */
  call(name, data, options) {
    this.#mayAsk("call", name);
    return this.#requests.call(name, data, options);
  }

  /** Calls a call off; no result comes any more. @param {number} id */
  cancel(id) {
    if (this.#requests.cancel(id)) this.#request({ t: "cancel", id });
  }

  /**
   * Says that this client feeds a path and all below it, until sourceEnded.
   * @param {string} path @param {{required?: boolean, priority?: number}} [options]
   * @throws {ReasonError} the path makes no sense
   */
  source(path, options) {
    this.#requests.source(path, options);
  }

  /** @param {string} path */
  sourceEnded(path) {
    if (this.#requests.sourceEnded(path)) this.#request({ t: "source", path, on: false });
  }

  /**
   * Says something about the WebRTC peer of a path: on the connection that stands, and again on the one that the session moves to, if it is about to. An offer that comes twice gets the same answer twice.
   * @param {string} path @param {any} data
   * @throws {ReasonError} the path makes no sense, or there is no connection: what was to be said is old by the next one
   */
  signal(path, data) {
    checkPath("signal", path);
    if (!this.linked && !this.#greeting) throw new ReasonError(`signal ${JSON.stringify(path)}`, reason("lost"));
    this.#request({ t: "signal", path, data });
  }

  /** @returns {number} the id that the pong will have; 0 when no welcome came on a connection that stands */
  ping() {
    if (!this.linked) return 0;
    this.#send({ t: "ping", id: ++this.#pings });
    return this.#pings;
  }

  /** Sends new credentials before the old ones end. @param {string} token */
  renew(token) {
    if (this.linked) this.#requests.renew(token);
  }

  /** Freezes the session: nothing is handed out until resume. It does nothing unless the state is logged_in and no move is under way. */
  pause() {
    if (this.state !== "logged_in" || this.#moving) return;
    this.#send({ t: "pause" });
    this.#to("paused");
  }

  /** Ends a pause: logged_in follows, or connecting where the connection broke meanwhile. */
  resume() {
    if (this.state !== "paused") return;
    const { list, end } = this.#held.take();
    if (this.linked) this.#send({ t: "resume" });
    this.#to(this.linked || end ? "logged_in" : "connecting");
    for (const m of list) "t" in m ? this.#receive(m) : this.#fragment(m);
    if (!end || !may(this.state, "ejected")) return;
    if (end.word !== "done") this.#to("ejected", end);
    this.#disconnected(end);
  }

  // What happens to the connection.

  /** The attempt succeeded: the connection stands. */
  opened() {
    if (this.state !== "connecting") return;
    this.#to("connected");
    if (this.#options.provider) this.#to("retrieving_credentials");
    else this.#greet(this.#options.token);
  }

  /** What the provider has given for this login. @param {string} token */
  credentials(token) {
    if (this.state !== "retrieving_credentials") return;
    this.#to("credentials_retrieved");
    this.#greet(token);
  }

  /** The provider has failed: `retry` is to be called after a back-off, or, when the reason is final, everything ends. @param {Reason} r */
  credentialsFailed(r) {
    if (this.state !== "retrieving_credentials") return;
    this.#close(reason("done"));
    this.#to("credentials_retrieval_failed", r);
    if (!r.retry) this.#disconnected(r);
  }

  /** The attempt failed, or the connection is gone without a word of the server. @param {Reason} [r] */
  broken(r = reason("lost")) {
    if (this.#moving) this.#moveEnd = r; // the other connection may still take over
    else if (this.state === "connecting") this.#to("failed", r);
    else if (this.state === "paused") {
      this.#dropped();
      this.#held.take(); // the server is asked for it again
    } else if (this.#online()) this.#lost(r);
  }

  /** The connection stands but is to be given up: silence, or a breach of the protocol. @param {Reason} r */
  giveUp(r) {
    if (!this.#online()) return;
    if (!this.#moving) this.#close(r);
    this.broken(r);
  }

  /** The server closed the connection with a code. @param {number} code @param {string} [text] */
  closed(code, text) {
    const r = reasonByCode(code, text);
    if (r) this.#ended(r);
    else this.broken(reason("lost", text || (code > 1001 && code !== 1006 ? `closed with code ${code}` : undefined)));
  }

  /** The machine has no network: an attempt, a session or the waiting for an attempt ends. */
  unreachable() {
    const r = reason("lost", "there is no network");
    if (["connected", "retrieving_credentials", "credentials_retrieved", "paused"].includes(this.state)) this.broken(r);
    if (!may(this.state, "unreachable")) return;
    this.#to("unreachable", r);
    this.#dropped();
  }

  /** The back-off is over, or the network is back. */
  retry() {
    if (["failed", "lost", "unreachable", "credentials_retrieval_failed"].includes(this.state)) this.#to("connecting");
  }

  /**
   * A second connection stands, to which the session is to move without a break. From then on what comes on it goes to `switched`, and what still comes on the old one to `receive`.
   * @param {string} [token]  else that of the options
   * @returns {string | undefined} the hello to be sent on it; undefined unless the state is logged_in and no other move is under way
   */
  switch(token) {
    if (this.state !== "logged_in" || this.#moving) return undefined;
    this.#moving = true;
    return this.#hello(token || this.#options.token, true);
  }

  /**
   * A text message came on the second connection before the welcome.
   * @param {string} text
   * @returns {boolean} the second connection is the session's from now on: the owner forgets the old one, and what was to be sent on it
   * @throws {ReasonError | ProtocolError} the server does not take the session: the owner closes the new connection and calls switchFailed
   */
  switched(text) {
    if (!this.#moving) throw new ReasonError("move", reason("lost"));
    const m = parseMessage(text);
    if (m.t === "error" || m.t === "ejected" || m.t === "bye") throw new ReasonError("move", reasonFromWire(m.reason) ?? reason("shutdown"));
    if (m.t !== "welcome") return false;
    if (m.version !== VERSION) throw new ReasonError("move", wrongVersion(m.version, VERSION));
    this.out = this.out.filter((o) => o.do !== "send" && o.do !== "close");
    this.#moving = false;
    this.#moveEnd = undefined;
    this.#forget();
    this.#welcomed(m);
    return true;
  }

  /** The second connection is not to be had: the session stays where it was, or is lost if the first connection ended meanwhile. */
  switchFailed() {
    if (!this.#moving) return;
    const r = this.#moveEnd;
    this.#moving = this.#greeting = false;
    this.#moveEnd = undefined;
    this.#late = [];
    if (r && this.#online()) this.#lost(r);
  }

  /** A message of the server came. @param {string | ArrayBuffer | Uint8Array} message */
  receive(message) {
    if (!this.#online()) return;
    try {
      if (typeof message !== "string") this.#receiveMedia(message);
      else this.#take(parseMessage(message), message.length);
    } catch (e) {
      if (!(e instanceof ProtocolError)) throw e;
      this.giveUp(reason("protocol", e.message));
    }
  }

  /** @param {ServerMessage} m @param {number} size */
  #take(m, size) {
    if (this.state === "paused" && this.#held.waits(m)) this.#hold(m, size);
    else if (this.linked) this.#receive(m);
    else this.#receiveLogin(m);
  }

  /** Keeps what came during a pause. @param {ServerMessage | Media} m @param {number} size */
  #hold(m, size) {
    if (!this.#held.add(m, size)) this.giveUp(reason("limit", `more than ${this.#held.most} bytes came during the pause`));
  }

  /** The answer to the hello. @param {ServerMessage} m */
  #receiveLogin(m) {
    if (m.t === "ping") return this.#send({ t: "pong", id: m.id });
    if (m.t === "error" || m.t === "ejected" || m.t === "bye") return this.#endedByWord(m.reason);
    if (m.t !== "welcome" || !this.#greeting) return;
    if (m.version !== VERSION) return this.giveUp(wrongVersion(m.version, VERSION));
    if (m.resumed) this.#to("reconnected");
    this.#to("logged_in");
    this.#welcomed(m);
  }

  /** What a welcome does on either kind of connection: what was asked meanwhile follows, then what has no answer. @param {import("./protocol.js").Welcome} m */
  #welcomed(m) {
    this.welcome = m;
    this.session = m.session;
    this.user = m.user ?? "";
    const late = this.#late;
    this.#late = [];
    this.#greeting = false;
    this.linked = true;
    for (const ask of late) this.#send(ask);
    this.#requests.welcomed(m);
  }

  /** A message of a session that stands. @param {ServerMessage} m */
  #receive(m) {
    switch (m.t) {
      case "ack":
      case "error":
      case "result":
        return this.#requests.answer(m);
      case "ping":
        return this.#send({ t: "pong", id: m.id });
      case "pong":
      case "drain":
      case "wanted":
      case "signal":
        return this.#event(m);
      case "ejected":
      case "bye":
        return this.#endedByWord(m.reason);
      default:
        return this.#following.receive(m);
    }
  }

  /** @param {ArrayBuffer | Uint8Array} message */
  #receiveMedia(message) {
    const m = this.linked ? parseMedia(message) : null;
    if (m && this.state === "paused") this.#hold(m, message.byteLength);
    else if (m) this.#fragment(m);
  }

  /** @param {Media} m */
  #fragment(m) {
    if (this.#following.fragment(m)) this.out.push({ do: "fragment", media: m });
  }

  /** @param {string} [token] */
  #greet(token) {
    this.out.push({ do: "send", text: this.#hello(token, false) });
  }

  /** Begins to greet. @param {string | undefined} token @param {boolean} goOn  plays go on where they stand, too */
  #hello(token, goOn) {
    this.#greeting = true;
    const { client, publisher } = this.#options;
    /** @type {import("./protocol.js").Hello} */
    const hello = { t: "hello", version: VERSION, client };
    if (token) hello.token = token;
    if (this.session) hello.session = this.session;
    if (publisher) hello.publisher = publisher;
    this.#late = this.#following.tell(hello, goOn);
    return JSON.stringify(hello);
  }

  /** @param {string} verb @param {string} path */
  #mayAsk(verb, path) {
    checkPath(verb, path);
    if (this.state === "disconnected") throw new ReasonError(`${verb} ${JSON.stringify(path)}`, reason("lost", "not connected"));
  }

  /** Sends on the connection that stands, and again after the welcome on one that is greeted; without either the next hello tells it. @param {ClientMessage} m */
  #request(m) {
    if (this.linked) this.#send(m);
    if (this.#greeting) this.#late.push(m);
  }

  #online() {
    return this.linked || ["connected", "retrieving_credentials", "credentials_retrieved"].includes(this.state);
  }

  /** The server ended the session in a message: the connection is closed from this side too. @param {Partial<Reason>} [r] */
  #endedByWord(r) {
    if (!this.#moving) this.#close(reason("done"));
    this.#ended(reasonFromWire(r) ?? reason("shutdown"));
  }

  /** The server ended the session with a reason of its own: a final one is the end. @param {Reason} r */
  #ended(r) {
    if (this.#moving || !this.#online() || r.retry) return this.broken(r);
    if (this.state === "paused") {
      this.#held.end = r; // resume tells, after what is held
      this.linked = false;
      return;
    }
    if (this.state === "retrieving_credentials") this.#to("credentials_retrieved"); // the server did not wait for them
    if (this.state !== "logged_in") this.#to("login_failed", r);
    else if (r.word !== "done") this.#to("ejected", r);
    this.#disconnected(r);
  }

  /** @param {Reason} r */
  #disconnected(r) {
    this.#to("disconnected", r);
    this.#dropped();
    this.#requests.end();
    this.#following.clear();
    this.session = this.user = "";
    this.#held.take();
  }

  /** @param {Reason} r */
  #lost(r) {
    this.#to("lost", r);
    this.#dropped();
  }

  /** The end of a connection. */
  #dropped() {
    this.linked = this.#greeting = this.#moving = false;
    this.#moveEnd = undefined;
    this.#late = [];
    this.#forget();
  }

  /** Nothing has an answer on a connection any more. */
  #forget() {
    this.#requests.dropped();
    this.#following.unanswered();
  }

  /** @param {ClientMessage} message */
  #send(message) {
    this.out.push({ do: "send", text: JSON.stringify(message) });
  }

  /** @param {Reason} r */
  #close(r) {
    this.out.push({ do: "close", reason: r });
  }

  /** @param {Event} event */
  #event(event) {
    this.out.push({ do: "event", event });
  }

  /** The one place where the state changes; what states.js does not allow is not made. @param {string} to @param {Reason} [r] */
  #to(to, r) {
    if (!may(this.state, to)) return;
    this.out.push({ do: "state", from: this.state, to, reason: r });
    this.state = to;
  }
}
