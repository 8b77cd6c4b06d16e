import { hasPair, iceState } from "./ice.js";
import { reason, reasonFromWire } from "./reasons.js";
import { briefStats } from "./rtcstats.js";
import { guard } from "./subscription.js";

/**
 * One WebRTC connection with the server, agreed upon by the signals of a session (docs/protocol.md, "WebRTC"): our offers, the server's answers, candidates as they are found,
 * ICE restarts, and how this end sees it, which travels up at each change and every few seconds.
 *
 * @typedef {import("./reasons.js").Reason} Reason
 * @typedef {import("./ice.js").ICEState} ICEState
 * @typedef {import("./rtcstats.js").RTCStats} RTCStats
 * @typedef {{ice: string, pair?: string, rtt?: number, reason?: Reason}} ServerView  how the server sees it
 * @typedef {{send: (data: {[name: string]: any}) => boolean}} Line  takes signals; false when there is no session to carry them
 *
 * @typedef {object} PeerOptions
 * @property {(pc: RTCPeerConnection) => void} setUp  adds what is sent or received
 * @property {RTCIceServer[]} [servers]  STUN and TURN
 * @property {RTCIceTransportPolicy} [policy]  "relay": only by TURN
 * @property {() => void} [onchange]  a state of either end, or an error of a candidate
 * @property {(e: RTCTrackEvent) => void} [ontrack]
 * @property {(r: Reason) => void} [onended]  the server has ended or refused it, or it cannot be here; not after close. What was received stays until close
 */

/** How often the numbers travel up, in ms. */
export const VIEW_EVERY = 5000;

export class Peer {
  /** ICE as this end sees it, out of both states that the browser has. @type {ICEState} */
  ice = "new";
  /** connectionState: of ICE and DTLS together. @type {string} */
  connection = "new";
  /** What the server said last of its end. @type {ServerView | undefined} */
  server;
  /** The last error of a candidate. */
  error = "";
  /** The last numbers. @type {RTCStats | undefined} */
  stats;
  /** When they were looked at, by performance.now; 0 before. */
  looked = 0;
  /** The server has answered the first offer. */
  answered = false;
  /** Why it is over. @type {Reason | undefined} */
  ended;

  #line;
  #as;
  #o;
  #pc;
  #closed = false;
  #awaiting = false; // an answer
  #taking = false; // it is there
  #offer = ""; // its text, as it was sent or is to be sent
  #offered = false; // it was sent
  #known = false; // the server has had an offer
  /** What is to be offered when the answer is there. @type {{iceRestart: boolean} | undefined} */
  #again;
  /** Ours, found before the offer was sent. @type {{[name: string]: any}[]} */
  #found = [];
  /** The server's, before its answer. @type {RTCIceCandidateInit[]} */
  #candidates = [];
  /** @type {Promise<RTCStats | undefined> | undefined} */
  #looking;
  /** @type {ReturnType<typeof setInterval>} */
  #timer;

  /** @param {Line} line @param {"play" | "publish"} as @param {PeerOptions} o */
  constructor(line, as, o) {
    this.#line = line;
    this.#as = as;
    this.#o = o;
    this.#pc = new globalThis.RTCPeerConnection({ iceServers: o.servers ?? [], bundlePolicy: "max-bundle", iceTransportPolicy: o.policy });
    const pc = this.#pc;
    pc.onicecandidate = (e) => e.candidate && this.#trickle({ candidate: e.candidate.candidate, mid: e.candidate.sdpMid ?? "0" });
    pc.onicegatheringstatechange = () => pc.iceGatheringState === "complete" && this.#trickle({ candidate: "" });
    pc.oniceconnectionstatechange = pc.onconnectionstatechange = () => this.#changed();
    pc.onicecandidateerror = (e) => this.#failedCandidate(e);
    pc.ontrack = (e) => o.ontrack?.(e);
    this.#timer = setInterval(() => void this.look().then(() => this.#view()), VIEW_EVERY);
    o.setUp(pc);
    void this.negotiate();
  }

  /** The browser's connection. */
  get pc() {
    return this.#pc;
  }

  /**
   * Offers what there is now: at the start, after tracks were added, and for an ICE restart. While an answer is awaited the next offer waits for it.
   * @param {{iceRestart?: boolean}} [options]
   */
  async negotiate({ iceRestart = false } = {}) {
    if (this.#closed) return;
    if (this.#awaiting) return void (this.#again = { iceRestart: iceRestart || this.#again?.iceRestart === true });
    this.#awaiting = true;
    this.#taking = this.#offered = false;
    this.#offer = "";
    try {
      await this.#pc.setLocalDescription(await this.#pc.createOffer({ iceRestart }));
    } catch (e) {
      return this.#end(reason("internal", `offer: ${/** @type {Error} */ (e).message}`));
    }
    this.#offer = this.#pc.localDescription?.sdp ?? "";
    if (!this.#closed) this.#say();
  }

  /** New candidates and credentials of ICE: DTLS and what it carries go on. */
  restart() {
    void this.negotiate({ iceRestart: true });
  }

  /** There is a connection to the server again, and the same session: says what it may have missed. */
  linked() {
    if (this.#awaiting && this.#offer) this.#say(); // it is answered once more, if it came
    else if (!hasPair(this.ice)) this.restart();
    this.#view();
  }

  /** Says something of the server. @param {{[name: string]: any}} data  of a signal */
  async receive(data) {
    if (this.#closed) return;
    if (data.state) {
      this.server = data.state;
      guard(this.#o.onchange);
    }
    if (data.close) return this.#end(reasonFromWire(data.close) ?? reason("done"));
    if (typeof data.answer === "string") await this.#answered(data.answer);
    if (typeof data.candidate === "string") await this.#candidate({ candidate: data.candidate, sdpMid: data.mid ?? "0" });
  }

  /**
   * The browser's numbers, as of now; those of a look that is under way are shared.
   * @returns {Promise<RTCStats | undefined>}
   */
  look() {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  async #look() {
    try {
      this.stats = briefStats(/** @type {any} */ (await this.#pc.getStats()));
      this.looked = performance.now();
      return this.stats;
    } catch {
      return undefined; // it is closed
    }
  }

  /**
   * Ends it, and says so to the server.
   * @param {Reason} [why] @param {boolean} [picture]  its last picture is still shown, which is black once `pc` is closed: that is left to the caller
   */
  close(why = reason("done"), picture = false) {
    const told = this.#closed;
    this.#shut();
    if (!picture) this.#pc.close();
    if (!told) this.#line.send({ ...this.#for(), close: { code: why.code, word: why.word, text: why.text } });
  }

  // Agreement.

  /** Signals of a peer that publishes say so. */
  #for() {
    return this.#as === "publish" ? { as: this.#as } : {};
  }

  #say() {
    this.#offered = this.#line.send({ offer: this.#offer, as: this.#as });
    this.#known ||= this.#offered;
    if (this.#offered) for (const c of this.#found.splice(0)) this.#line.send({ ...this.#for(), ...c });
  }

  /** @param {string} sdp */
  async #answered(sdp) {
    if (!this.#awaiting || !this.#offered || this.#taking) return; // it came twice
    this.#taking = true;
    try {
      await this.#pc.setRemoteDescription({ type: "answer", sdp });
    } catch (e) {
      return this.#end(reason("protocol", `answer: ${/** @type {Error} */ (e).message}`));
    }
    this.answered = true;
    if (this.#closed) return;
    for (const c of this.#candidates.splice(0)) await this.#candidate(c);
    this.#awaiting = false;
    const again = this.#again;
    this.#again = undefined;
    if (again) void this.negotiate(again);
  }

  /** @param {RTCIceCandidateInit} c */
  async #candidate(c) {
    if (!this.#pc.remoteDescription) return void this.#candidates.push(c);
    await this.#pc.addIceCandidate(c).catch((e) => this.#note(`candidate of the server: ${e.message}`));
  }

  /** @param {{[name: string]: any}} c */
  #trickle(c) {
    if (this.#offered) this.#line.send({ ...this.#for(), ...c });
    else this.#found.push(c);
  }

  // What is seen.

  #changed() {
    const { ice, connection } = this, pc = this.#pc;
    this.ice = iceState(pc.iceConnectionState, pc.connectionState);
    this.connection = pc.connectionState;
    if (this.#closed || (ice === this.ice && connection === this.connection)) return;
    this.#view();
    guard(this.#o.onchange);
  }

  /** A STUN or TURN server did not answer, or an address could not be used. @param {RTCPeerConnectionIceErrorEvent} e */
  #failedCandidate(e) {
    this.#note([e.errorCode, e.errorText, e.url].filter(Boolean).join(" "));
  }

  /** @param {string} error */
  #note(error) {
    if (this.#closed || error === this.error) return;
    this.error = error;
    this.#view();
    guard(this.#o.onchange);
  }

  /** How this end sees it. */
  #record() {
    const { ice, connection, error, stats } = this;
    return { ice, connection, gathering: this.#pc.iceGatheringState, at: Date.now(), ...(error ? { error } : {}), ...(stats ? { stats } : {}) };
  }

  #view() {
    if (this.#known) this.#line.send({ ...this.#for(), view: this.#record() });
  }

  /** @param {Reason} why */
  #end(why) {
    if (this.#closed) return;
    this.ended = why;
    this.#shut();
    guard(this.#o.onended, why);
  }

  #shut() {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    const pc = this.#pc;
    pc.onicecandidate = pc.onicegatheringstatechange = pc.oniceconnectionstatechange = pc.onconnectionstatechange = pc.onicecandidateerror = pc.ontrack = null;
    this.ice = this.connection = "closed";
    this.#view();
  }
}
