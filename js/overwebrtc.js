import { Peer } from "./peer.js";
import { RTPClock } from "./rtpclock.js";
import { ICE_LIGHTS, hasPair } from "./ice.js";
import { reason } from "./reasons.js";

/**
 * The media of a path over WebRTC: what the server says that it can carry of it, one connection after the other, and the media time of its frames.
 *
 * @typedef {import("./client.js").Client} Client
 * @typedef {import("./ladder.js").PeerEvidence} PeerEvidence
 * @typedef {{possible?: boolean, video?: string, audio?: string, without?: string, reorder?: boolean}} About  of a signal
 *
 * @typedef {object} RTCOptions
 * @property {boolean} incomplete  play over WebRTC, too, what it can carry only without the sound or without the picture
 * @property {RTCIceServer[] | undefined} iceServers  instead of those that the server names
 * @property {RTCIceTransportPolicy | undefined} icePolicy  "relay": only by TURN
 * @property {number | undefined} jitterBuffer  how long the browser should hold frames back so that they come evenly, in ms
 */

export class OverWebRTC {
  /** Why WebRTC does not carry the path, "" when it does; undefined while the server has not said. @type {string | undefined} */
  refusal;
  /** What the server said of it. @type {About} */
  about = {};
  /** The connection that is tried or used. @type {Peer | undefined} */
  peer;
  /** What comes by it. @type {MediaStream | undefined} */
  stream;
  clock = new RTPClock();

  #client;
  #path;
  #signals;
  #o;
  #noted = { browser: "", server: "" }; // the states that were
  #onchange;
  #asked = false;
  /** Have ended, but for their last picture. @type {RTCPeerConnection[]} */
  #kept = [];
  /** @type {RTCIceServer[]} */
  #servers = [];
  /** The switch that could not be told. @type {{to: string, why: string} | undefined} */
  #unsaid;

  /** @param {Client} client @param {string} path @param {RTCOptions} o @param {() => void} onchange  something is to be looked at */
  constructor(client, path, o, onchange) {
    this.#client = client;
    this.#path = path;
    this.#o = o;
    this.#onchange = onchange;
    this.#signals = client.signals(path, (m) => m.data?.as !== "publish" && this.#received(m.data));
  }

  /** Asks whether WebRTC makes sense for the path. */
  ask() {
    this.#asked = true;
    this.refusal = globalThis.RTCPeerConnection ? undefined : "this browser has no WebRTC";
    if (this.refusal === undefined) this.#signals.send({ ask: true });
  }

  /** Makes a connection. */
  open() {
    const { video, audio } = this.about;
    const stream = (this.stream = new MediaStream());
    this.#noted = { browser: "", server: "" };
    const peer = new Peer(this.#signals, "play", {
      servers: this.#o.iceServers ?? this.#servers,
      policy: this.#o.icePolicy,
      setUp: (pc) => {
        if (video || !audio) pc.addTransceiver("video", { direction: "recvonly" });
        if (audio || !video) pc.addTransceiver("audio", { direction: "recvonly" });
      },
      onchange: () => this.#changed(),
      onended: () => this.#changed(),
      ontrack: (e) => {
        const { jitterBuffer } = this.#o;
        if (jitterBuffer !== undefined && "jitterBufferTarget" in e.receiver) e.receiver.jitterBufferTarget = jitterBuffer;
        stream.addTrack(e.track);
      },
    });
    this.peer = peer;
  }

  /** Ends the connection, if there is one. @param {string} why @param {MediaStream} [shown]  what the element shows: its last picture stays there until it is let go */
  end(why, shown) {
    const { peer, stream } = this;
    if (!peer) return;
    const kept = stream === shown;
    this.peer = this.stream = undefined;
    peer.close(reason("done", why), kept);
    this.#note("browser", "closed", why);
    if (kept) this.#kept.push(peer.pc);
  }

  /** The element shows something else: lets go of pictures of connections that have ended. */
  release() {
    for (const pc of this.#kept.splice(0)) pc.close();
  }

  close() {
    this.end("");
    this.release();
    this.#signals.close();
  }

  /** There is a session again. @param {boolean} same  it is the one from before, and the server's end of the connection with it */
  linked(same) {
    if (this.#unsaid) this.switched(this.#unsaid);
    if (this.#asked && this.refusal === undefined) this.ask();
    if (same) return this.peer?.linked();
    if (this.peer) this.peer.ended ??= reason("lost", "the session began anew");
  }

  /** Tells the server what is shown from now on, and why. @param {{to: string, why: string}} change */
  switched(change) {
    this.#unsaid = this.#signals.send({ switch: { to: change.to, why: change.why } }) ? undefined : change;
  }

  /** What the ladder is to know of the connection; its numbers are those of the last look. @returns {PeerEvidence | undefined} */
  get evidence() {
    if (!this.peer) return undefined;
    const { ice, connection, answered, stats, ended, looked } = this.peer;
    return {
      ice, connection, answered, ended,
      ...(looked ? { at: looked } : {}),
      bytes: stats?.bytesReceived ?? 0,
      received: stats?.framesReceived ?? 0,
      decoded: stats?.framesDecoded ?? 0,
      video: this.stream?.getVideoTracks().length !== 0 && this.about.video !== undefined,
    };
  }

  /** The media time of the frame that is presented, or of what was played last, in seconds. @param {number} [rtp]  the frame's RTP timestamp, where the browser tells it */
  time(rtp) {
    if (!this.clock.known) return undefined;
    const at = rtp ?? this.#receiver("video")?.getSynchronizationSources?.()[0]?.rtpTimestamp;
    return at === undefined ? undefined : this.clock.at(at);
  }

  /** Both ends' views of the connection, for people. */
  views() {
    const { peer } = this;
    if (!peer) return { here: "", there: "", pair: "", rtt: undefined };
    const { ice, connection, server, stats, error } = peer;
    const dtls = hasPair(ice) && connection !== "connected" ? `, ${connection}` : "";
    return { here: `${ice}${dtls}${error ? `, ${error}` : ""}`, there: server?.ice ?? "", pair: stats?.pair ?? server?.pair ?? "", rtt: stats?.rtt ?? server?.rtt };
  }

  #changed() {
    const { peer } = this;
    if (peer) this.#note("browser", peer.ice, peer.ended?.text ?? peer.error);
    if (peer?.server) this.#note("server", peer.server.ice, peer.server.reason?.text ?? peer.server.pair ?? "");
    this.#onchange();
  }

  /** Both ends' changes in one order, in the client's log. @param {"browser" | "server"} from @param {string} ice @param {string} [more] */
  #note(from, ice, more) {
    if (ice === this.#noted[from]) return;
    this.#noted[from] = ice;
    const light = ICE_LIGHTS[/** @type {import("./ice.js").ICEState} */ (ice)];
    this.#client.note({ kind: "ice", path: this.#path, from, light, detail: more ? `${ice}: ${more}` : ice });
  }

  /** @param {"video" | "audio"} kind */
  #receiver(kind) {
    return this.peer?.pc.getReceivers().find((r) => r.track?.kind === kind);
  }

  /** @param {{[name: string]: any}} data */
  #received(data) {
    if (typeof data !== "object" || data === null) return;
    if (Array.isArray(data.servers)) this.#servers = data.servers;
    if (data.clock) this.clock.set(data.clock.rtp, data.clock.time);
    if (data.about) this.#judge(data.about, data.reason?.text);
    void this.peer?.receive(data).then(() => this.#onchange());
    if (data.about) this.#onchange();
  }

  /** @param {About} about @param {string} [why]  nothing is possible */
  #judge(about, why) {
    this.about = about;
    if (!about.possible) this.refusal = why || about.without || (about.reorder ? "its frames are sent in another order than shown" : "WebRTC carries nothing of this stream");
    else this.refusal = about.without && !this.#o.incomplete ? about.without : "";
  }
}
