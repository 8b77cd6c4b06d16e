import { Attempts } from "./attempts.js";
import { Watch } from "./watch.js";

/**
 * Which of two ways brings the picture. WebSocket media plays at once, WebRTC is tried beside it and kept where it holds, and whatever speaks against it lets WebSocket
 * media go on. No clock and no browser in here: what is seen and when it was goes in, what is wanted comes out.
 *
 * @typedef {"websocket" | "webrtc"} Way
 *
 * @typedef {object} LadderOptions  what is left out takes the default; times in ms
 * @property {Way[]} [transports]  what may be used; one alone is pinned: both. WebSocket media comes first in any case
 * @property {number} [checking]  for ICE to find a pair: 2000
 * @property {number} [dtls]  from there to a connection: 2000
 * @property {number} [answer]  for the server to answer a question or an offer: 3000
 * @property {number} [first]  from the connection to the first bytes: 2000
 * @property {number} [silent]  without a byte, while the stream is live: 700. A stream of few frames a second is given three frames
 * @property {number} [undecoded]  frames are received and fewer than half of them decoded: 1000
 * @property {number} [frozen]  bytes come and no frame is decoded: 1500. One that is only tried may wait for a keyframe
 * @property {number} [steady]  frames are decoded without a fault: 2000. Then the picture goes over to WebRTC
 * @property {number} [prove]  from the connection until that is so: 10,000
 * @property {number} [hold]  WebRTC that held so long starts the back-off anew: 30,000
 * @property {number} [backoffMin]  before WebRTC is tried again; doubled after each failure: 2000
 * @property {number} [backoffMax]  60,000
 * @property {number} [restart]  between two ICE restarts of a connection that is needed: 5000
 * @property {() => number} [random]  from 0 to 1; waits are up to a quarter shorter or longer by it: Math.random
 *
 * What is seen of the WebRTC connection. The numbers count from its start; those of frames are of the picture.
 * @typedef {object} PeerEvidence
 * @property {number} [at]  when the numbers were looked at, in ms: now. The timers of a page in the background are slow, and what was not looked at is not silent
 * @property {string} ice  one of ice.js
 * @property {string} connection  connectionState
 * @property {boolean} [answered]  the server has answered the offer
 * @property {number} bytes @property {number} received  frames @property {number} decoded  frames
 * @property {boolean} video  there is a picture to be decoded
 * @property {import("./reasons.js").Reason} [ended]  the server, or an error here, has ended it
 *
 * @typedef {object} Evidence
 * @property {boolean} live  frames are to come: false when the session says that nobody publishes
 * @property {string} stream  names what is published, and changes with it; "" while that is not known
 * @property {string} [refusal]  why WebRTC does not carry the stream, "" when it does; undefined while nobody has said
 * @property {boolean} ready  WebSocket media has a picture to go on with
 * @property {string} [broken]  why WebSocket media cannot be shown in this browser at all
 * @property {number} networks  how often the network has changed
 * @property {number} [interval]  between frames, in ms
 * @property {PeerEvidence} [peer]  of the connection that is wanted
 *
 * @typedef {object} Want  what should be; the same object each time
 * @property {boolean} websocket  media is asked for over the WebSocket; also while nobody publishes, since the session tells when that changes
 * @property {boolean} webrtc  there is a WebRTC connection
 * @property {Way | ""} show  what the viewer sees
 * @property {string} why  it came to that
 * @property {number} attempt  counts the attempts: each asks the server anew, and has a connection of its own
 * @property {number} restarts  counts the ICE restarts that are wanted
 */

export const LADDER = Object.freeze({
  transports: /** @type {Way[]} */ (["webrtc", "websocket"]),
  checking: 2000, dtls: 2000, answer: 3000, first: 2000, silent: 700, undecoded: 1000, frozen: 1500, steady: 2000, prove: 10_000,
  hold: 30_000, backoffMin: 2000, backoffMax: 60_000, restart: 5000, random: Math.random,
});

/**
 * "off": WebRTC is excluded, or does not carry the stream; "waiting": for the next attempt; "asking" the server whether it makes sense; "trying": a connection is made and
 * watched; "shown": it brings the picture; "failing": it does still, but something speaks against it and WebSocket media is being prepared.
 * @typedef {"off" | "waiting" | "asking" | "trying" | "shown" | "failing"} Phase
 */

export class Ladder {
  /** @type {Phase} */
  phase = "off";
  /** What is to be said about the phase: what is wrong with WebRTC. */
  detail = "";
  /** @type {Want} */
  want = { websocket: false, webrtc: false, show: "", why: "", attempt: 0, restarts: 0 };

  #o;
  #attempts;
  #watch;
  #stream = "";
  #networks = 0;
  #began = 0; // when the phase did
  #restarted = -Infinity;
  #against = ""; // what spoke last against WebRTC

  /** @param {LadderOptions} [options] */
  constructor(options = {}) {
    const bad = options.transports?.length === 0 ? "none" : options.transports?.find((t) => t !== "webrtc" && t !== "websocket");
    if (bad) throw new RangeError(`hawser: media transport ${JSON.stringify(bad)}: want webrtc, websocket`);
    this.#o = { ...LADDER, ...Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) };
    this.#attempts = new Attempts(this.#o);
    this.#watch = new Watch(this.#o);
  }

  /** When WebRTC is tried again; 0 when no attempt is planned. */
  get next() {
    return this.phase === "waiting" ? this.#attempts.at : 0;
  }

  /**
   * To be called several times a second, and when something has happened.
   * @param {number} now  in ms @param {Evidence} e
   * @returns {Want}
   */
  step(now, e) {
    const asked = this.phase === "asking";
    this.#renewed(now, e);
    const webSocket = this.#o.transports.includes("websocket") && e.broken === undefined;
    if (webSocket && this.want.show === "") this.#show("websocket", this.#o.transports.includes("webrtc") ? "it comes first" : "pinned");
    if (this.phase === "waiting" && now >= this.#attempts.at) this.#ask(now);
    if (asked && this.phase === "asking") this.#answered(now, e);
    if (this.want.webrtc) this.#look(now, e, webSocket);
    this.want.websocket = webSocket && (this.want.show !== "webrtc" || this.phase !== "shown" || !e.live);
    if (this.want.websocket && this.want.show === "webrtc" && this.phase !== "shown" && e.ready) this.#fallBack(now);
    return this.want;
  }

  /** Another stream, or another network: what was learned does not hold any more. @param {number} now @param {Evidence} e */
  #renewed(now, e) {
    const stream = e.stream !== this.#stream, network = e.networks !== this.#networks;
    this.#stream = e.stream;
    this.#networks = e.networks;
    if (!this.#o.transports.includes("webrtc")) return;
    if (stream || network) this.#attempts.again();
    const known = e.stream !== "" || !this.#o.transports.includes("websocket");
    const first = this.want.attempt === 0 && known;
    if (first || (stream && known && this.phase === "off") || ((stream || network) && this.phase === "waiting")) this.#ask(now);
    else if (network && this.want.webrtc) this.#restart(now);
  }

  // An attempt.

  /** @param {number} now */
  #ask(now) {
    this.want.attempt++;
    this.#to("asking", now);
  }

  /** @param {number} now @param {Evidence} e */
  #answered(now, e) {
    if (e.refusal) return this.#off(now, e.refusal);
    if (e.refusal === undefined) return void (now - this.#began >= this.#o.answer && this.#failed(now, `no answer within ${this.#o.answer} ms`));
    this.want.webrtc = true;
    this.#watch.begin(now);
    this.#to("trying", now);
  }

  /** @param {number} now @param {Evidence} e @param {boolean} webSocket */
  #look(now, e, webSocket) {
    const { peer } = e;
    if (!peer) return;
    if (e.refusal) return this.#off(now, e.refusal); // the server has changed its mind
    const fault = this.#watch.look(now, peer, e, this.phase !== "trying");
    if (fault?.final) this.#over(now, peer, fault.why);
    else if (fault) this.#faulty(now, peer, fault.why, webSocket);
    else if (this.phase === "failing") this.#to("shown", now); // it was nothing
    else if (this.phase === "trying" && this.#holds(now, peer, webSocket)) this.#promote(now, webSocket);
    if (this.phase === "shown" && now - this.#began >= this.#o.hold) this.#attempts.again();
  }

  /** Whether the picture may go over to WebRTC. @param {number} now @param {PeerEvidence} peer @param {boolean} webSocket */
  #holds(now, peer, webSocket) {
    if (!webSocket || this.want.show === "webrtc") return peer.video ? peer.decoded > 0 : peer.bytes > 0;
    return now - this.#watch.steadySince >= this.#o.steady;
  }

  /** @param {number} now @param {boolean} webSocket */
  #promote(now, webSocket) {
    const steady = this.#watch.steadySince, again = this.want.show === "webrtc";
    if (!again) this.#show("webrtc", webSocket ? `frames were decoded steadily for ${Math.round(now - steady)} ms` : this.#alone());
    this.#to("shown", now);
  }

  #alone() {
    return this.#o.transports.includes("websocket") ? "WebSocket media cannot be shown here" : "pinned";
  }

  // What speaks against it.

  /** The connection is there and does not do what it should. @param {number} now @param {PeerEvidence} peer @param {string} why @param {boolean} webSocket */
  #faulty(now, peer, why, webSocket) {
    if (this.phase === "trying" && (webSocket || this.#watch.hopeless)) return this.#failed(now, why);
    if (this.phase === "trying") return; // it is all there is
    if (this.phase === "shown") this.#to("failing", now);
    this.detail = this.#against = why;
    if (peer.ice === "disconnected") this.#restart(now);
  }

  /** The connection is no more. @param {number} now @param {PeerEvidence} peer @param {string} why */
  #over(now, peer, why) {
    const { ended } = peer;
    if (ended && !ended.retry) this.#off(now, why);
    else this.#failed(now, why);
  }

  /** Where it was shown its last picture stays until there is another. @param {number} now @param {string} why */
  #failed(now, why) {
    this.want.webrtc = false;
    this.#against = why;
    this.#attempts.failed(now);
    this.#to("waiting", now, why);
  }

  /** WebRTC does not carry this stream. @param {number} now @param {string} why */
  #off(now, why) {
    this.want.webrtc = false;
    this.#against = why;
    this.#to("off", now, why);
  }

  /** @param {number} now */
  #fallBack(now) {
    this.#show("websocket", this.#against);
    if (this.phase === "failing") this.#failed(now, this.#against);
  }

  /** @param {number} now */
  #restart(now) {
    if (now - this.#restarted < this.#o.restart) return;
    this.#restarted = now;
    this.want.restarts++;
  }

  /** @param {Way} way @param {string} why */
  #show(way, why) {
    this.want.show = way;
    this.want.why = why;
  }

  /** @param {Phase} phase @param {number} now @param {string} [detail] */
  #to(phase, now, detail = "") {
    this.phase = phase;
    this.detail = detail;
    this.#began = now;
  }
}
