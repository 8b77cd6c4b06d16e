import { Cover } from "./cover.js";
import { Frames } from "./frames.js";
import { Ladder } from "./ladder.js";
import { Networks } from "./networks.js";
import { OverWebRTC } from "./overwebrtc.js";
import { OverWebSocket } from "./overwebsocket.js";
import { reason } from "./reasons.js";
import { guard } from "./subscription.js";

/**
 * @typedef {import("./client.js").Client} Client
 * @typedef {import("./protocol.js").MediaInfo} MediaInfo
 * @typedef {import("./machine.js").SubjectEvent} SubjectEvent
 * @typedef {import("./frames.js").Frame} Frame
 * @typedef {import("./ladder.js").Way} Way
 *
 * @typedef {object} PlayerOptions  what is left out takes the default
 * @property {number} [latency]  how far behind what is received the picture should be over the WebSocket, in seconds: 0.4. Less stalls sooner
 * @property {number} [maxLatency]  the most that stalls may make of it, in seconds: 2
 * @property {number} [jump]  further behind than that by so many seconds, the player jumps; nearer it plays a little faster: 3
 * @property {number} [backBuffer]  how much of the past is kept, in seconds: 10
 * @property {number} [held]  how many data updates may wait for their frames: 10,000
 * @property {boolean} [muted]  start muted: true. Without, it is muted all the same when the browser allows no sound before a click
 * @property {boolean} [data]  subscribe to the data on the path: true
 * @property {Way[]} [transports]  what may bring the media; one alone is pinned: both, "webrtc" and "websocket"
 * @property {boolean} [incomplete]  play over WebRTC, too, what it carries only without its sound or its picture (AAC, for one): false
 * @property {Omit<import("./ladder.js").LadderOptions, "transports">} [ladder]  its times
 * @property {RTCIceServer[]} [iceServers]  instead of those that the server names
 * @property {RTCIceTransportPolicy} [icePolicy]  "relay": only by TURN
 * @property {number} [jitterBuffer]  over WebRTC: how long the browser should hold frames back so that they come evenly, in ms; as it sees fit
 *
 * "waiting": nobody publishes, or nothing came so far; "starting": media comes in; "playing"; "stalled": playback ran dry; "paused": by the element's controls;
 * "blocked": the browser wants a click first; "gone": the play was refused or is over; "unsupported": the browser has no decoder; "closed".
 * @typedef {"waiting" | "starting" | "playing" | "stalled" | "paused" | "blocked" | "gone" | "unsupported" | "closed"} PlayerState
 *
 * @typedef {{from: Way | "", to: Way, why: string, at: Date}} Switch  from what to what the picture went, and the evidence for it
 */

const DEFAULTS = {
  latency: 0.4, maxLatency: 2, jump: 3, backBuffer: 10, held: 10_000, muted: true, data: true,
  transports: /** @type {Way[]} */ (["webrtc", "websocket"]), incomplete: false, ladder: {},
  iceServers: /** @type {RTCIceServer[] | undefined} */ (undefined), icePolicy: /** @type {RTCIceTransportPolicy | undefined} */ (undefined),
  jitterBuffer: /** @type {number | undefined} */ (undefined),
};

/** How often the playhead is looked after, and how often the numbers of a WebRTC connection, in ms. */
const TICK = 100, LOOK = 200;

/** So many ms without a presented frame, frames are no longer waited for: the page is hidden, or there is no picture. */
const UNSEEN = 500;

/** So many ms without a frame, while something speaks against WebRTC: the picture that stands in is made ready. */
const STILL = 300;

/** After a stall, the player jumps when it is further behind than it should be by so many seconds. */
const RESUMED = 0.5;

/** WebSocket media is something to go on with when it is ahead of the last frame by so many seconds. */
const AHEAD = 0.3;

/** What is listened to of the element. */
const EVENTS = ["waiting", "playing", "pause", "play", "error"];

/**
 * Plays the media of a path in a <video>, near the live edge, and hands out the data of the same path at the frame that it belongs to. Media comes over the session's WebSocket
 * at once, and over WebRTC as soon as that has proved itself; what fails gives way to the other without the application doing anything.
 *
 *     const player = new Player(client, "/live/cam1", video);
 *     player.ondata = (m, frame) => { if (m.t === "update" && frame) draw(m.data, frame.mediaTime); };
 *     player.start();
 *
 * Browsers start video by themselves only when it is muted, so the player mutes it; a page should offer a way to unmute it.
 */
export class Player {
  /**
   * Called with each message of the path's data. An update with a media time comes while the frame nearest to that time is presented; what has no media
   * time, or no frame, comes with frame null. @type {((message: SubjectEvent, frame: Frame | null) => void) | undefined}
   */
  ondata;
  /** Called after each change of state, with a sentence where there is something to say. @type {((state: PlayerState, detail: string) => void) | undefined} */
  onstate;
  /** Called when the picture goes over to another transport, with the evidence. @type {((change: Switch) => void) | undefined} */
  ontransport;
  /** @type {PlayerState} */
  state = "waiting";
  /** What is said about the state. */
  detail = "";
  /** What brings the picture. @type {Way | ""} */
  transport = "";

  #o;
  #client;
  #path;
  #video;
  #ws;
  #rtc;
  #ladder;
  #cover;
  #networks = new Networks();
  /** @type {Frames<SubjectEvent>} */
  #frames;
  /** @type {import("./subscription.js").Subscription | undefined} */
  #data;
  #unobserve = () => {};
  #seen = 0; // when a frame was last presented
  #presented = 0; // by the element's count
  #framesPresented = 0;
  #looked = 0; // when the numbers of WebRTC were
  #attempt = 0; // the ladder's, as far as it was followed
  #restarts = 0;
  #against = ""; // what was said last of the ladder's fault
  /** The stream that the element shows, or is about to. @type {MediaStream | undefined} */
  #stream;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #callback = 0;
  #closed = false;

  /** @param {Client} client @param {string} path @param {HTMLVideoElement} video @param {PlayerOptions} [options] */
  constructor(client, path, video, options = {}) {
    this.#client = client;
    this.#path = path;
    this.#video = video;
    this.#o = { ...DEFAULTS, ...Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) };
    this.#frames = new Frames((m, frame) => guard(this.ondata, m, frame), this.#o.held);
    this.#cover = new Cover(video);
    this.#ladder = new Ladder({ ...this.#o.ladder, transports: this.#o.transports });
    this.#ws = new OverWebSocket(client, path, video, this.#o, {
      info: (m) => this.#status(m),
      frame: (dts) => this.#frames.received(dts),
      anew: () => this.#frames.release(),
      state: (state, detail) => this.#told(state, detail),
      run: () => this.#run(),
    });
    this.#rtc = new OverWebRTC(client, path, this.#o, () => this.#step());
  }

  /** What the server said last of the stream, while media came over the session. @returns {MediaInfo | undefined} */
  get info() {
    return this.#ws.info;
  }

  /** Plays until close is called; to be called once. */
  start() {
    const v = this.#video;
    v.muted = this.#o.muted;
    v.playsInline = true;
    for (const name of EVENTS) v.addEventListener(name, this.#happened);
    if (this.#o.data) this.#data = this.#client.subscribe(this.#path, (m) => this.#received(m));
    let past = true; // an observer is told that first
    this.#unobserve = this.#client.observe((e) => !past && e.state === "logged_in" && e.from !== "paused" && this.#linked());
    past = false;
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#step();
    this.#watchFrames();
  }

  /** Stops, and leaves the element empty. */
  close() {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#timer);
    this.#unobserve();
    this.#networks.close();
    this.#video.cancelVideoFrameCallback?.(this.#callback);
    for (const name of EVENTS) this.#video.removeEventListener(name, this.#happened);
    this.#data?.close();
    this.#ws.stop();
    this.#rtc.close();
    this.#frames.release();
    this.#to("closed");
    this.#ws.hide();
    if (this.#video.srcObject) this.#video.srcObject = null;
    this.#cover.lift();
  }

  /** Goes to the live edge. */
  live() {
    if (this.#ws.shown) this.#ws.live();
  }

  /**
   * Numbers for people and tests: frames presented to the viewer, bytes of sound that were decoded (0 where the browser does not tell), how far the picture is
   * behind what was received, and so on. Times are in seconds; `webrtc` is the WebRTC side: where the ladder stands, both ends' ICE, and the browser's numbers.
   */
  stats() {
    const v = /** @type {HTMLVideoElement & {webkitAudioDecodedByteCount?: number, webkitVideoDecodedByteCount?: number}} */ (this.#video);
    const rtc = this.#rtc.peer?.stats;
    const over = this.#ws.shown ? this.#ws.stats() : { latency: (rtc?.delay ?? 0) / 1000, targetLatency: 0, buffered: 0 };
    return {
      ...this.#ws.counts,
      ...over,
      framesPresented: this.#framesPresented,
      state: this.state,
      transport: this.transport,
      framesDropped: v.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0,
      audioDecodedBytes: v.webkitAudioDecodedByteCount ?? 0,
      videoDecodedBytes: v.webkitVideoDecodedByteCount ?? 0,
      playbackRate: v.playbackRate,
      currentTime: v.currentTime,
      mediaTime: this.#frames.shown ?? 0,
      frameInterval: this.#frames.interval,
      width: v.videoWidth,
      height: v.videoHeight,
      codecs: (this.info?.tracks ?? []).map((t) => t.codec),
      held: this.#frames.held,
      webrtc: { phase: this.#ladder.phase, detail: this.#ladder.detail, attempts: this.#ladder.want.attempt, why: this.#ladder.want.why, ...this.#rtc.views(), ...rtc },
    };
  }

  // The session's side.

  /** @param {SubjectEvent} m */
  #received(m) {
    const live = !this.info || this.info.status === "live", timed = this.transport !== "webrtc" || this.#rtc.clock.known;
    if (m.t === "update" && m.time !== undefined && live && timed && this.state !== "unsupported") this.#frames.hold(m.time / 1000, m);
    else guard(this.ondata, m, null);
  }

  /** @param {MediaInfo} m */
  #status(m) {
    if (m.status === "waiting") this.#to("waiting", m.reason?.text);
    if (m.status === "gone") this.#told("gone", m.reason?.text ?? "");
    else this.#step();
  }

  /** Said of WebSocket media. @param {"starting" | "gone" | "unsupported"} state @param {string} detail */
  #told(state, detail) {
    if (state === "gone") {
      this.#frames.release();
      this.#rtc.end("the play is over");
    }
    if (state === "gone" || this.transport !== "webrtc") this.#to(state, detail);
  }

  #linked() {
    if (this.#ladder.phase === "waiting") this.#networks.changed(); // there is one again
    this.#rtc.linked(this.#client.welcome?.resumed ?? false);
    this.#step();
  }

  // The ladder.

  /** Lets the ladder look, and does what it wants. */
  #step() {
    if (this.#closed || ["gone", "paused"].includes(this.state) || !this.#timer) return;
    const { info } = this, shown = this.#frames.shown;
    const { newest } = this.#ws;
    const want = this.#ladder.step(performance.now(), {
      live: !info || info.status === "live",
      stream: info?.status === "live" ? `${info.epoch} ${(info.tracks ?? []).map((t) => t.codec)}` : "",
      refusal: this.#rtc.refusal,
      ready: newest !== undefined && (shown === undefined || newest - shown > AHEAD),
      broken: this.#ws.unsupported || undefined,
      networks: this.#networks.count,
      interval: this.#frames.interval * 1000,
      peer: this.#rtc.evidence,
    });
    this.#noteFault();
    if (this.#ladder.phase === "failing") this.#client.check(); // the session may be cut, too
    if (this.#closed) return; // by the application, when it was told; so below
    if (want.attempt !== this.#attempt) this.#rtc.ask();
    this.#attempt = want.attempt;
    if (want.webrtc && !this.#rtc.peer) this.#rtc.open();
    if (want.restarts !== this.#restarts) this.#rtc.peer?.restart();
    this.#restarts = want.restarts;
    const renewed = want.show === "webrtc" && this.#ladder.phase === "shown" && this.#rtc.stream !== this.#stream;
    if (want.show !== "" && (want.show !== this.transport || renewed)) this.#switch(want.show, want.why);
    if (!want.webrtc && !this.#closed) this.#rtc.end(this.#ladder.detail, /** @type {MediaStream | undefined} */ (this.#video.srcObject) ?? undefined);
    if (this.#closed) return;
    if (want.websocket) this.#ws.ask();
    else this.#ws.stop();
    if (this.transport !== "websocket") this.#judge();
  }

  /** What speaks against WebRTC, and when it is tried again, for the client's log. */
  #noteFault() {
    const { phase, detail, next } = this.#ladder, against = detail && (phase === "off" || phase === "waiting") ? `${phase}: ${detail}` : "";
    if (against === this.#against) return;
    this.#against = against;
    if (against) this.#client.note({ kind: "ladder", path: this.#path, detail, ...(next ? { delay: Math.round(next - performance.now()) } : {}) });
  }

  /** The state while WebRTC brings the picture, or is to bring it alone. */
  #judge() {
    const { phase, detail } = this.#ladder;
    if (phase === "waiting" && this.transport === "") this.#to("waiting", detail);
    if (phase !== "shown" && this.state === "playing") this.#to("stalled", detail);
    if (phase === "failing" && performance.now() - this.#seen > STILL) void this.#cover.put();
    if (phase === "off" && !this.#ladder.want.websocket) this.#to("unsupported", detail);
  }

  /** @param {Way} to @param {string} why */
  #switch(to, why) {
    const from = this.transport;
    this.transport = to;
    if (to === "webrtc" && this.#ws.newest !== undefined) this.#rtc.clock.near(this.#ws.newest);
    this.#stream = to === "webrtc" ? this.#rtc.stream : undefined;
    this.#show(to, this.#stream);
    if (from === to) return;
    /** @type {Switch} */
    const change = { from, to, why, at: new Date() };
    if (from !== "") this.#rtc.switched(change);
    if (from !== "") this.#client.note({ kind: "switch", path: this.#path, from, transport: to, detail: why });
    guard(this.ontransport, change);
  }

  /** Gives the element to one of the two, under cover of its last picture. @param {Way} way @param {MediaStream | undefined} stream */
  async #show(way, stream) {
    if (this.#video.readyState > 1) await this.#cover.put(); // an empty one is given at once
    if (this.transport !== way || this.#stream !== stream || this.#closed) return; // changed meanwhile
    if (way === "websocket") {
      this.#ws.show(); // takes the place of the stream
      return this.#rtc.release();
    }
    this.#video.srcObject = stream ?? null;
    this.#ws.hide();
    this.#rtc.release();
    this.#video.playbackRate = 1;
    if (this.state !== "playing") this.#to("starting");
    this.#run();
  }

  // The browser's side.

  /** @param {globalThis.Event} e */
  #happened = (e) => {
    if (this.transport === "") return;
    if (e.type === "error") this.#failed(new Error(this.#video.error?.message || "the browser cannot decode this"));
    else if (e.type === "pause" && this.#video.readyState > 0) this.#to("paused");
    else if (e.type === "play" && (this.state === "paused" || this.state === "blocked")) this.#unpaused();
    else if (e.type === "playing") this.#playing();
    else if (e.type === "waiting" && this.state === "playing") this.#stalled();
  };

  /** @param {Error} e */
  #failed(e) {
    if (this.#ws.shown) this.#ws.failed(e);
    else if (this.#rtc.peer) this.#rtc.peer.ended = reason("internal", e.message);
  }

  #unpaused() {
    this.live();
    if (this.transport === "webrtc") this.#to("starting");
  }

  #playing() {
    if (this.#ws.shown && (this.state === "waiting" || this.state === "stalled")) this.#ws.resumed(RESUMED);
    this.#to("playing", this.#ws.shown ? this.#ws.without : this.#rtc.about.without);
  }

  #stalled() {
    if (!this.#ws.shown) return; // the ladder sees it
    if (this.info?.status === "waiting") return this.#to("waiting", this.info.reason?.text);
    if (this.#video.seeking) return;
    this.#ws.stalled();
    this.#to("stalled");
  }

  /** Looks after the playhead, the transports, and data for which no frames come. */
  #tick() {
    const v = this.#video, now = performance.now();
    const seen = now - this.#seen < UNSEEN;
    const time = seen ? undefined : this.#ws.plays ? v.currentTime : this.transport === "webrtc" ? this.#rtc.time() : undefined;
    if (time !== undefined) this.#frames.present(time);
    const none = this.transport === "webrtc" ? time === undefined : this.info && this.info.status !== "live";
    if (!seen && none) this.#frames.release();
    this.#ws.tick();
    this.#step();
    if (now - this.#looked < LOOK) return;
    this.#looked = now;
    void this.#rtc.peer?.look();
  }

  async #run() {
    const v = this.#video;
    try {
      await v.play();
    } catch (e) {
      if (/** @type {Error} */ (e).name !== "NotAllowedError") return;
      if (v.muted) return this.#to("blocked");
      v.muted = true;
      this.#run();
    }
  }

  #watchFrames() {
    if (!this.#video.requestVideoFrameCallback) return;
    this.#callback = this.#video.requestVideoFrameCallback((_, frame) => {
      this.#watchFrames();
      this.#seen = performance.now();
      this.#framesPresented += Math.max(1, frame.presentedFrames - this.#presented); // a new source counts from 0
      this.#presented = frame.presentedFrames;
      this.#cover.lift();
      this.#presentedAt(frame);
      if ((!this.info || this.info.status === "live" || this.transport === "webrtc") && ["starting", "waiting", "stalled"].includes(this.state)) this.#playing();
    });
  }

  /** @param {VideoFrameCallbackMetadata} frame */
  #presentedAt(frame) {
    if (!this.#video.srcObject) return this.#frames.present(frame.mediaTime);
    const time = this.#rtc.time(frame.rtpTimestamp);
    if (time === undefined) return;
    this.#frames.received(time);
    this.#frames.present(time);
  }

  /** @param {PlayerState} state @param {string} [detail] */
  #to(state, detail = "") {
    if (state === this.state && detail === this.detail) return;
    this.state = state;
    this.detail = detail;
    guard(this.onstate, state, detail);
  }
}
