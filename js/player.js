import { fragmentTrack, splitInit } from "./boxes.js";
import { TrackBuffer } from "./buffer.js";
import { Edge } from "./edge.js";
import { Frames } from "./frames.js";
import { guard } from "./subscription.js";

/**
 * @typedef {import("./client.js").Client} Client
 * @typedef {import("./protocol.js").Media} Media
 * @typedef {import("./protocol.js").MediaInfo} MediaInfo
 * @typedef {import("./protocol.js").Track} Track
 * @typedef {import("./machine.js").SubjectEvent} SubjectEvent
 * @typedef {import("./frames.js").Frame} Frame
 *
 * @typedef {object} PlayerOptions  what is left out takes the default
 * @property {number} [latency]  how far behind what is received the picture should be, in seconds: 0.4. Less stalls sooner.
 * @property {number} [maxLatency]  the most that stalls may make of it, in seconds: 2
 * @property {number} [jump]  further behind than that by so many seconds, the player jumps; nearer it plays a little faster: 3
 * @property {number} [backBuffer]  how much of the past is kept, in seconds: 10
 * @property {number} [held]  how many data updates may wait for their frames: 10,000
 * @property {boolean} [muted]  start muted: true. Without, it is muted all the same when the browser allows no sound before a click
 * @property {boolean} [data]  subscribe to the data on the path: true
 *
 * "waiting": nobody publishes, or nothing came so far; "starting": media comes in; "playing"; "stalled": playback ran dry; "paused": by the element's controls;
 * "blocked": the browser wants a click first; "gone": the play was refused or is over; "unsupported": the browser has no decoder; "closed".
 * @typedef {"waiting" | "starting" | "playing" | "stalled" | "paused" | "blocked" | "gone" | "unsupported" | "closed"} PlayerState
 */

const DEFAULTS = { latency: 0.4, maxLatency: 2, jump: 3, backBuffer: 10, held: 10_000, muted: true, data: true };

/** How often the playhead is looked after, in ms. */
const TICK = 100;

/** The first pieces come in a burst from the last keyframe; so many ms after the first one the playhead is placed. */
const BURST = 200;

/** So many ms without a presented frame, frames are no longer waited for: the page is hidden, or there is no picture. */
const UNSEEN = 500;

/** So many ms without a stall let the latency shrink. */
const CALM = 5000;

/** After a stall, the player jumps when it is further behind than it should be by so many seconds. */
const RESUMED = 0.5;

/** While paused, so many seconds of what comes are kept. */
const AHEAD = 30;

/** After an error of the browser's decoder the player starts again, at most once in so many ms. */
const RESTART = 2000;

/** The browser's class; on an iPhone it has another name. @returns {typeof MediaSource | undefined} */
const mediaSource = () => globalThis.MediaSource ?? /** @type {any} */ (globalThis).ManagedMediaSource;

/**
 * Plays the media of a path in a <video>, near the live edge, and hands out the data of the same path at the frame that it belongs to.
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
  /** @type {PlayerState} */
  state = "waiting";
  /** What is said about the state. */
  detail = "";
  /** What the server said last of the stream. @type {MediaInfo | undefined} */
  info;

  #o;
  #client;
  #path;
  #video;
  #edge;
  /** @type {Frames<SubjectEvent>} */
  #frames;
  /** @type {import("./subscription.js").Play | undefined} */
  #play;
  /** @type {import("./subscription.js").Subscription | undefined} */
  #data;
  /** @type {MediaSource | undefined} */
  #media;
  #url = "";
  /** The track, its buffer and what is played of it, by the number in fragments. @type {Map<number, TrackBuffer>} */
  #buffers = new Map();
  #kinds = "";
  #without = ""; // what is not played, and why
  /** Came before the media source was open. @type {Media[]} */
  #early = [];
  #epoch = "";
  #offset = -1;
  #first = 0; // when the first fragment came
  #seen = 0; // when a frame was last presented
  #presented = 0; // by the element's count
  #calm = 0;
  #restarted = 0;
  /** @type {ReturnType<typeof setInterval> | undefined} */
  #timer;
  #callback = 0;
  #counts = { framesPresented: 0, fragments: 0, bytes: 0, stalls: 0, jumps: 0, holes: 0, skipped: 0, discontinuities: 0, restarts: 0 };

  /** @param {Client} client @param {string} path @param {HTMLVideoElement} video @param {PlayerOptions} [options] */
  constructor(client, path, video, options = {}) {
    this.#client = client;
    this.#path = path;
    this.#video = video;
    this.#o = { ...DEFAULTS, ...Object.fromEntries(Object.entries(options).filter(([, v]) => v !== undefined)) };
    this.#edge = new Edge(this.#o);
    this.#frames = new Frames((m, frame) => guard(this.ondata, m, frame), this.#o.held);
  }

  /** Plays until close is called; to be called once. */
  start() {
    const v = this.#video;
    v.muted = this.#o.muted;
    v.playsInline = true;
    for (const name of ["waiting", "playing", "pause", "play", "error"]) v.addEventListener(name, this.#happened);
    if (this.#o.data) this.#data = this.#client.subscribe(this.#path, (m) => this.#received(m));
    this.#begin();
    this.#timer = setInterval(() => this.#tick(), TICK);
    this.#watchFrames();
  }

  /** Stops, and leaves the element empty. */
  close() {
    if (this.state === "closed") return;
    clearInterval(this.#timer);
    this.#video.cancelVideoFrameCallback?.(this.#callback);
    for (const name of ["waiting", "playing", "pause", "play", "error"]) this.#video.removeEventListener(name, this.#happened);
    this.#data?.close();
    this.#play?.close();
    this.#frames.release();
    this.#detach();
    this.#to("closed");
  }

  /** Goes to the live edge. */
  live() {
    this.#edge.reset();
    this.#tick();
  }

  /**
   * Numbers for people and tests: frames presented to the viewer, bytes of sound that were decoded (0 where the browser does not tell), how far the picture is
   * behind what was received, and so on. Times are in seconds.
   */
  stats() {
    const v = /** @type {HTMLVideoElement & {webkitAudioDecodedByteCount?: number, webkitVideoDecodedByteCount?: number}} */ (this.#video);
    const range = this.#ranges().at(-1);
    return {
      ...this.#counts,
      state: this.state,
      framesDropped: v.getVideoPlaybackQuality?.().droppedVideoFrames ?? 0,
      audioDecodedBytes: v.webkitAudioDecodedByteCount ?? 0,
      videoDecodedBytes: v.webkitVideoDecodedByteCount ?? 0,
      latency: range && v.readyState > 0 ? Math.max(0, range.end - v.currentTime) : 0,
      targetLatency: this.#edge.target,
      buffered: range ? range.end - range.start : 0,
      playbackRate: v.playbackRate,
      currentTime: v.currentTime,
      mediaTime: this.#frames.shown ?? 0,
      frameInterval: this.#frames.interval,
      width: v.videoWidth,
      height: v.videoHeight,
      codecs: (this.info?.tracks ?? []).map((t) => t.codec),
      held: this.#frames.held,
    };
  }

  // The session's side.

  #begin() {
    try {
      this.#play = this.#client.play(this.#path, (m) => (m.t === "media" ? this.#status(m) : this.#fragment(m)));
    } catch (e) {
      this.#to("gone", /** @type {Error} */ (e).message);
    }
  }

  /** @param {SubjectEvent} m */
  #received(m) {
    const frames = !this.info || this.info.status === "live";
    if (m.t === "update" && m.time !== undefined && frames && this.state !== "unsupported") this.#frames.hold(m.time / 1000, m);
    else guard(this.ondata, m, null);
  }

  /** @param {MediaInfo} m */
  #status(m) {
    this.info = m;
    this.#counts.skipped += m.skipped ?? 0;
    if (m.status === "waiting") this.#to("waiting", m.reason?.text);
    if (m.status !== "gone") return;
    this.#play = undefined;
    this.#frames.release();
    this.#to("gone", m.reason?.text);
  }

  /** @param {Media} m */
  #fragment(m) {
    this.#counts.bytes += m.data.length;
    if (m.epoch !== this.#epoch) this.#newLife(m.epoch);
    if (m.init) return this.#init(m);
    this.#counts.fragments++;
    if (m.discontinuity) this.#counts.discontinuities++;
    if (m.offset <= this.#offset) return; // again, after a reconnect
    this.#offset = m.offset;
    if (m.kind === "video") this.#frames.received(m.dts / 1e6);
    if (this.#media?.readyState === "open") this.#append(m);
    else this.#early.push(m);
  }

  /** The stream began anew, and its time with it. @param {string} epoch */
  #newLife(epoch) {
    if (this.#epoch) this.#frames.release();
    this.#epoch = epoch;
    this.#offset = -1;
    this.#first = 0;
    this.#edge.reset();
    for (const b of this.#buffers.values()) b.clear();
  }

  /** @param {Media} m */
  #init(m) {
    const tracks = this.#playable(m.data);
    if (tracks.length === 0) return;
    const kinds = tracks.map((t) => t.kind).join();
    if (!this.#media || kinds !== this.#kinds) return this.#attach(kinds, m);
    if (this.#media.readyState !== "open") return void this.#early.push(m);
    const before = [...this.#buffers.values()];
    this.#buffers = new Map(tracks.map((t, i) => [t.id, before[i]]));
    tracks.forEach((t, i) => before[i].init(t.init, t.mime));
  }

  /**
   * The tracks to play, video first: one of each kind, as far as the browser has decoders.
   * @param {Uint8Array} init
   */
  #playable(init) {
    const Source = mediaSource();
    if (!Source) return this.#unsupported("this browser has no media source extensions");
    const all = splitInit(init).flatMap((t) => {
      const track = this.info?.tracks?.find((x) => x.id === t.id);
      return track ? [{ ...t, mime: `${track.kind}/mp4; codecs="${track.codec}"`, codec: track.codec, kind: track.kind }] : [];
    });
    const some = all.filter((t) => Source.isTypeSupported(t.mime));
    const chosen = ["video", "audio"].flatMap((kind) => some.find((t) => t.kind === kind) ?? []);
    if (chosen.length === 0) return this.#unsupported(`this browser has no decoder for ${all.map((t) => t.codec).join(" and ")}`);
    const left = all.filter((t) => !some.includes(t));
    this.#without = left.length === 0 ? "" : `without ${left.map((t) => t.kind).join()}: this browser has no decoder for ${left.map((t) => t.codec).join()}`;
    return chosen;
  }

  /** @param {string} why @returns {never[]} */
  #unsupported(why) {
    this.#to("unsupported", why);
    return [];
  }

  // The browser's side.

  /** A new media source, for tracks of these kinds. @param {string} kinds @param {Media} init */
  #attach(kinds, init) {
    this.#detach();
    const Source = /** @type {typeof MediaSource} */ (mediaSource());
    const media = new Source();
    this.#media = media;
    this.#kinds = kinds;
    this.#early = [];
    this.#url = URL.createObjectURL(media);
    if (!("MediaSource" in globalThis)) this.#video.disableRemotePlayback = true; // a managed media source wants it so
    media.addEventListener("sourceopen", () => this.#media === media && this.#opened(media, init), { once: true });
    this.#video.src = this.#url;
    this.#to("starting", this.#without);
  }

  /** @param {MediaSource} media @param {Media} init */
  #opened(media, init) {
    media.duration = Infinity;
    for (const t of this.#playable(init.data)) {
      const b = new TrackBuffer(media, t.mime, t.kind === "video", () => {}, (e) => this.#media === media && this.#failed(e));
      this.#buffers.set(t.id, b);
      b.init(t.init, t.mime);
    }
    for (const m of this.#early.splice(0)) m.init ? this.#init(m) : this.#append(m);
  }

  #detach() {
    this.#buffers.clear();
    this.#early = [];
    this.#media = undefined;
    this.#first = 0;
    this.#edge.reset();
    if (!this.#url) return;
    URL.revokeObjectURL(this.#url);
    this.#url = "";
    this.#video.removeAttribute("src");
    this.#video.load();
  }

  /** @param {Media} m */
  #append(m) {
    this.#first ||= performance.now();
    this.#buffers.get(fragmentTrack(m.data))?.append(/** @type {Uint8Array<ArrayBuffer>} */ (m.data), m.key, m.dts / 1e6);
  }

  /** The browser gives up what it was given: starts again. @param {Error} e */
  #failed(e) {
    const wait = Math.max(0, this.#restarted + RESTART - performance.now());
    this.#restarted = performance.now() + wait;
    this.#counts.restarts++;
    this.#play?.close();
    this.#play = undefined;
    this.#detach();
    this.#offset = -1;
    this.#to("starting", e.message);
    setTimeout(() => this.state !== "closed" && !this.#play && this.#begin(), wait);
  }

  /** @param {globalThis.Event} e */
  #happened = (e) => {
    if (!this.#media) return;
    if (e.type === "error") this.#failed(new Error(this.#video.error?.message || "the browser cannot decode this"));
    else if (e.type === "pause" && this.#video.readyState > 0) this.#to("paused");
    else if (e.type === "play" && (this.state === "paused" || this.state === "blocked")) this.live();
    else if (e.type === "playing") this.#playing();
    else if (e.type === "waiting" && this.state === "playing") this.#stalled();
  };

  #playing() {
    // The picture stood still already: rather jump now than play faster for long.
    const resumed = this.state === "waiting" || this.state === "stalled";
    const lag = (this.#ranges().at(-1)?.end ?? 0) - this.#video.currentTime;
    if (resumed && lag > this.#edge.target + RESUMED) this.live();
    this.#to("playing", this.#without);
  }

  #stalled() {
    if (this.info?.status === "waiting") return this.#to("waiting", this.info.reason?.text);
    if (this.#video.seeking) return;
    this.#counts.stalls++;
    this.#edge.stalled();
    this.#calm = performance.now();
    this.#to("stalled");
  }

  #ranges() {
    const b = this.#video.buffered, list = [];
    for (let i = 0; i < b.length; i++) list.push({ start: b.start(i), end: b.end(i) });
    return list;
  }

  /** Looks after the playhead, the buffers, and data for which no frames come. */
  #tick() {
    const v = this.#video, now = performance.now();
    const ranges = this.#ranges(), end = ranges.at(-1)?.end ?? 0;
    const seen = now - this.#seen < UNSEEN;
    if (!seen && this.#media && !v.paused && !v.seeking && v.readyState > 1) this.#frames.present(v.currentTime);
    if (!seen && this.info && this.info.status !== "live") this.#frames.release();
    if (ranges.length === 0 || now - this.#first < BURST) return;
    if (!v.paused || this.#edge.lag === undefined) this.#steer(ranges);
    const keep = Math.max(v.currentTime - this.#o.backBuffer, end - AHEAD);
    for (const b of this.#buffers.values()) b.trim(keep);
    if (now - this.#calm > CALM) {
      this.#calm = now;
      this.#edge.calm();
    }
  }

  /** @param {import("./edge.js").Range[]} ranges */
  #steer(ranges) {
    const v = this.#video;
    const move = this.#edge.step(v.currentTime, ranges);
    if (v.playbackRate !== move.rate) v.playbackRate = move.rate;
    if (move.seek === undefined) return;
    if (move.why === "hole") this.#counts.holes++;
    if (move.why === "behind") this.#counts.jumps++;
    v.currentTime = move.seek;
    if (move.why === "start" && v.paused) this.#run();
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
      this.#counts.framesPresented += Math.max(1, frame.presentedFrames - this.#presented); // a new source counts from 0
      this.#presented = frame.presentedFrames;
      this.#frames.present(frame.mediaTime);
      if (this.info?.status === "live" && ["starting", "waiting", "stalled"].includes(this.state)) this.#playing();
    });
  }

  /** @param {PlayerState} state @param {string} [detail] */
  #to(state, detail = "") {
    if (state === this.state && detail === this.detail) return;
    this.state = state;
    this.detail = detail;
    guard(this.onstate, state, detail);
  }
}
