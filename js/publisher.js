import { Attempts } from "./attempts.js";
import { hasPair } from "./ice.js";
import { Peer } from "./peer.js";
import { ReasonError, reason, reasonFromWire } from "./reasons.js";
import { guard } from "./subscription.js";
import { Timers } from "./timers.js";

/**
 * @typedef {import("./client.js").Client} Client
 * @typedef {import("./reasons.js").Reason} Reason
 *
 * @typedef {object} PublisherOptions  what is left out takes the default; times in ms
 * @property {string[]} [codecs]  of the picture, the first one preferred: ["video/H264", "video/VP8", "video/VP9", "video/AV1"]. H264 goes to every kind of viewer
 * @property {number} [maxBitrate]  of the picture, in bits a second: as the browser sees fit
 * @property {RTCDegradationPreference} [degradation]  what is given up first when there is too little of something: "balanced"
 * @property {RTCIceServer[]} [iceServers]  STUN and TURN, instead of those that the server names
 * @property {RTCIceTransportPolicy} [icePolicy]  "relay": only by TURN
 * @property {number} [patience]  for a connection, before another is made: 10,000
 * @property {number} [restart]  between two ICE restarts while the connection is broken: 3000
 * @property {number} [backoffMin]  before another connection is made; doubled after each failure: 1000
 * @property {number} [backoffMax]  30,000
 * @property {() => number} [random]  from 0 to 1; waits are up to a quarter shorter or longer by it: Math.random
 *
 * "stopped"; "waiting" for the session, or for the next attempt; "starting": a connection is made; "publishing"; "lost": the connection is broken and may heal;
 * "refused": the server does not take it, and says why.
 * @typedef {"stopped" | "waiting" | "starting" | "publishing" | "lost" | "refused"} PublisherState
 */

const DEFAULTS = {
  codecs: ["video/H264", "video/VP8", "video/VP9", "video/AV1"],
  maxBitrate: /** @type {number | undefined} */ (undefined), degradation: /** @type {RTCDegradationPreference | undefined} */ (undefined),
  iceServers: /** @type {RTCIceServer[] | undefined} */ (undefined), icePolicy: /** @type {RTCIceTransportPolicy | undefined} */ (undefined),
  patience: 10_000, restart: 3000, backoffMin: 1000, backoffMax: 30_000, random: Math.random,
};

/**
 * Publishes a camera, a screen or any other MediaStream on a path, over WebRTC inside the client's session, until it is stopped: over breaks of the network and of the session.
 *
 *     const publisher = new Publisher(client, "/live/cam1", { maxBitrate: 2_500_000 });
 *     publisher.onstate = (state, detail) => console.log(state, detail);
 *     await publisher.start({ video: true, audio: true });
 */
export class Publisher {
  /** Called after each change of state, with a sentence where there is something to say. @type {((state: PublisherState, detail: string) => void) | undefined} */
  onstate;
  /** @type {PublisherState} */
  state = "stopped";
  /** What is said about the state. */
  detail = "";
  /** What is published. @type {MediaStream | undefined} */
  stream;

  #client;
  #path;
  #o;
  #attempts;
  #timers = new Timers();
  /** @type {Peer | undefined} */
  #peer;
  /** @type {import("./subscription.js").Signals | undefined} */
  #signals;
  /** What is sent of each kind; null for silence or darkness. @type {Map<string, MediaStreamTrack | null>} */
  #tracks = new Map();
  #own = false; // the tracks are ours to stop
  #unobserve = () => {};

  /** @param {Client} client @param {string} path @param {PublisherOptions} [options] */
  constructor(client, path, options = {}) {
    this.#client = client;
    this.#path = path;
    this.#o = { ...DEFAULTS, ...Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) };
    this.#attempts = new Attempts(this.#o);
  }

  /**
   * @param {MediaStream | MediaStreamConstraints} [what]  a stream, which stays the caller's, or what to ask the user for: camera and microphone
   * @throws {ReasonError} it was started already, there is no WebRTC here, or the stream is empty; what getUserMedia throws when the user says no
   */
  async start(what = { video: true, audio: true }) {
    const fault = (/** @type {string} */ word, /** @type {string} */ text) => new ReasonError(`publish ${JSON.stringify(this.#path)}`, reason(word, text));
    if (this.state !== "stopped" && this.state !== "refused") throw fault("bad_request", "it was started already");
    if (!globalThis.RTCPeerConnection) throw fault("unsupported", "this browser has no WebRTC");
    this.#own = !("getTracks" in what);
    const stream = "getTracks" in what ? what : await navigator.mediaDevices.getUserMedia(what);
    this.#tracks = new Map(stream.getTracks().map((t) => [t.kind, t]));
    if (this.#tracks.size === 0) throw fault("bad_request", "the stream has no tracks");
    this.stream = stream;
    this.#signals = this.#client.signals(this.#path, (m) => m.data?.as === "publish" && this.#received(m.data));
    let past = true; // an observer is told that first
    this.#unobserve = this.#client.observe((e) => !past && this.#session(e));
    past = false;
    this.#attempts.again();
    if (this.#client.state === "logged_in") this.#open();
    else this.#to("waiting", "for the session");
  }

  /** Ends it; a camera that was asked for here is given back. */
  stop() {
    if (this.state === "stopped") return;
    this.#end();
    this.#to("stopped");
  }

  /**
   * Sends another track instead of the one of its kind: another camera, the screen; null sends nothing of that kind. The connection stays as it is.
   * @param {"video" | "audio"} kind @param {MediaStreamTrack | null} track
   * @throws {ReasonError} nothing of that kind is published
   */
  async replaceTrack(kind, track) {
    if (!this.#tracks.has(kind)) throw new ReasonError(`replace ${kind}`, reason("bad_request", "nothing of that kind is published"));
    const before = this.#tracks.get(kind);
    this.#tracks.set(kind, track);
    if (this.#own) before?.stop();
    await this.#sender(kind)?.replaceTrack(track);
  }

  /** The browser's numbers and both ends' ICE; undefined while there is no connection. */
  async stats() {
    const peer = this.#peer, numbers = await peer?.look();
    return peer && { state: this.state, ice: peer.ice, connection: peer.connection, server: peer.server?.ice ?? "", ...numbers };
  }

  #end() {
    this.#timers.clearAll();
    this.#unobserve();
    this.#peer?.close();
    this.#signals?.close();
    this.#peer = this.#signals = undefined;
    if (this.#own) for (const t of this.#tracks.values()) t?.stop();
    this.stream = undefined;
  }

  /** @param {import("./client.js").ClientEvent} e */
  #session(e) {
    if (e.state === "disconnected") {
      this.#end();
      return this.#to("stopped", e.reason?.text);
    }
    if (e.state !== "logged_in" || e.from === "paused") return;
    this.#attempts.again();
    if (this.#peer && this.#client.welcome?.resumed) return this.#peer.linked();
    this.#leave();
    this.#open();
  }

  // The connection.

  /** Asks whether it makes sense, and by which servers. */
  #open() {
    this.#timers.clear("retry");
    this.#to("starting");
    this.#timers.set("patience", this.#o.patience, () => this.#retry(`no connection within ${this.#o.patience} ms`));
    this.#signals?.send({ ask: true, as: "publish" });
  }

  /** @param {{[name: string]: any}} data  of a signal */
  #received(data) {
    if (this.#peer) return void this.#peer.receive(data);
    if (!data.about || this.state !== "starting") return;
    if (data.about.possible) this.#connect(data.servers);
    else this.#ended(reasonFromWire(data.reason) ?? reason("unsupported"));
  }

  /** @param {RTCIceServer[] | undefined} servers  that the server names */
  #connect(servers) {
    const peer = new Peer(/** @type {import("./subscription.js").Signals} */ (this.#signals), "publish", {
      servers: this.#o.iceServers ?? servers,
      policy: this.#o.icePolicy,
      setUp: (pc) => this.#setUp(pc),
      onchange: () => this.#peer === peer && this.#changed(peer),
      onended: (r) => this.#peer === peer && this.#ended(r),
    });
    this.#peer = peer;
  }

  /** @param {RTCPeerConnection} pc */
  #setUp(pc) {
    for (const [kind, track] of this.#tracks) {
      const { maxBitrate, degradation } = this.#o, video = kind === "video";
      const t = pc.addTransceiver(track ?? kind, {
        direction: "sendonly",
        streams: this.stream ? [this.stream] : [],
        ...(video && maxBitrate ? { sendEncodings: [{ maxBitrate }] } : {}),
      });
      if (video) preferred(t, this.#o.codecs);
      if (!video || !degradation) continue;
      const p = t.sender.getParameters();
      p.degradationPreference = degradation;
      t.sender.setParameters(p).catch(() => {}); // a browser that does not know it goes on without
    }
  }

  /** @param {string} kind */
  #sender(kind) {
    return this.#peer?.pc.getTransceivers().find((t) => t.receiver.track.kind === kind)?.sender;
  }

  /** @param {Peer} peer */
  #changed(peer) {
    if (peer.ice === "failed") return this.#retry("ICE failed");
    if (hasPair(peer.ice) && peer.connection === "connected") return this.#publishing();
    if (peer.ice !== "disconnected" || this.state !== "publishing") return;
    this.#to("lost", "ICE disconnected");
    this.#timers.set("patience", this.#o.patience, () => this.#retry(`ICE disconnected for ${this.#o.patience} ms`));
    this.#heal();
  }

  #publishing() {
    this.#timers.clear("patience");
    this.#timers.clear("heal");
    this.#attempts.again();
    this.#to("publishing");
  }

  /** Restarts ICE until the connection is healed or given up. */
  #heal() {
    this.#peer?.restart();
    this.#timers.set("heal", this.#o.restart, () => this.#heal());
  }

  /** @param {Reason} r */
  #ended(r) {
    if (r.retry) return this.#retry(r.text);
    this.#end();
    this.#to("refused", r.text);
  }

  /** Makes another connection after a back-off. @param {string} why */
  #retry(why) {
    this.#leave();
    const now = performance.now();
    this.#attempts.failed(now);
    this.#to("waiting", why);
    this.#timers.set("retry", this.#attempts.at - now, () => {
      if (this.#client.state === "logged_in") this.#open();
      else this.#to("waiting", "for the session");
    });
  }

  #leave() {
    this.#timers.clearAll();
    this.#peer?.close();
    this.#peer = undefined;
  }

  /** @param {PublisherState} state @param {string} [detail] */
  #to(state, detail = "") {
    if (state === this.state && detail === this.detail) return;
    this.state = state;
    this.detail = detail;
    guard(this.onstate, state, detail);
  }
}

/** Puts the preferred codecs first; what the browser does not have is left out, and what goes with any codec stays. @param {RTCRtpTransceiver} t @param {string[]} codecs */
function preferred(t, codecs) {
  const all = globalThis.RTCRtpSender?.getCapabilities?.("video")?.codecs ?? [];
  const rank = (/** @type {string} */ mime) => codecs.findIndex((c) => c.toLowerCase() === mime.toLowerCase());
  const some = all.filter((c) => rank(c.mimeType) >= 0).sort((a, b) => rank(a.mimeType) - rank(b.mimeType));
  const besides = all.filter((c) => /\/(rtx|red|ulpfec|flexfec-03)$/i.test(c.mimeType));
  if (some.length > 0) t.setCodecPreferences?.([...some, ...besides]);
}
