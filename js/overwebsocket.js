import { fragmentTrack, splitInit } from "./boxes.js";
import { TrackBuffer } from "./buffer.js";
import { Edge } from "./edge.js";

/**
 * The media of a path over the session, in a <video> by media source extensions, near the live edge.
 *
 * @typedef {import("./client.js").Client} Client
 * @typedef {import("./protocol.js").Media} Media
 * @typedef {import("./protocol.js").MediaInfo} MediaInfo
 * @typedef {import("./protocol.js").Track} Track
 *
 * @typedef {object} Owner  who is told
 * @property {(m: MediaInfo) => void} info
 * @property {(dts: number) => void} frame  of the picture was received, in seconds
 * @property {() => void} anew  the stream began anew, and its time with it
 * @property {(state: "starting" | "gone" | "unsupported", detail: string) => void} state
 * @property {() => void} run  the element is to play
 */

/** The first pieces come in a burst from the last keyframe; so many ms after the first one the playhead is placed. */
const BURST = 200;

/** So many ms without a stall let the latency shrink. */
const CALM = 5000;

/** While paused, so many seconds of what comes are kept. */
const AHEAD = 30;

/** What waits to be shown begins anew at a keyframe, and has at most so many fragments. */
const WAITING = 5000;

/** After an error of the browser's decoder it starts again, at most once in so many ms. */
const RESTART = 2000;

/** The browser's class; on an iPhone it has another name. @returns {typeof MediaSource | undefined} */
const mediaSource = () => globalThis.MediaSource ?? /** @type {any} */ (globalThis).ManagedMediaSource;

export class OverWebSocket {
  /** What the server said last of the stream. @type {MediaInfo | undefined} */
  info;
  /** Why nothing of the stream can be played in this browser; "" when something can. */
  unsupported = "";
  /** What is not played, and why. */
  without = "";
  /** The time of the newest frame since it was asked for, in seconds; undefined before a keyframe came. @type {number | undefined} */
  newest;
  counts = { fragments: 0, bytes: 0, stalls: 0, jumps: 0, holes: 0, skipped: 0, discontinuities: 0, restarts: 0 };

  #client;
  #path;
  #video;
  #o;
  #owner;
  #edge;
  /** @type {import("./subscription.js").Play | undefined} */
  #play;
  #asked = false;
  #shown = false;
  /** @type {MediaSource | undefined} */
  #media;
  #url = "";
  /** The track, its buffer and what is played of it, by the number in fragments. @type {Map<number, TrackBuffer>} */
  #buffers = new Map();
  #kinds = "";
  /** The init segment in force. @type {Media | undefined} */
  #head;
  /** Came while there was no media source to take it. @type {Media[]} */
  #early = [];
  #epoch = "";
  #offset = -1;
  #first = 0; // when the first fragment came
  #calm = 0;
  #restarted = 0;

  /** @param {Client} client @param {string} path @param {HTMLVideoElement} video @param {{latency: number, maxLatency: number, jump: number, backBuffer: number}} o @param {Owner} owner */
  constructor(client, path, video, o, owner) {
    this.#client = client;
    this.#path = path;
    this.#video = video;
    this.#o = o;
    this.#owner = owner;
    this.#edge = new Edge(o);
  }

  /** Whether media is asked for. */
  get asked() {
    return this.#asked;
  }

  /** Whether it is what the element plays. */
  get shown() {
    return this.#shown;
  }

  /** Asks for media, from the last keyframe on. What comes is kept until it is shown. */
  ask() {
    if (this.#asked) return;
    this.#asked = true;
    this.#begin();
  }

  stop() {
    this.#asked = false;
    this.#play?.close();
    this.#play = undefined;
    this.newest = undefined;
    if (!this.#shown) this.#early = [];
  }

  /** Makes the element its own. */
  show() {
    if (this.#shown) return;
    this.#shown = true;
    this.#edge.reset();
    if (this.#head) this.#init(this.#head);
  }

  /** Leaves the element, empty. */
  hide() {
    this.#shown = false;
    this.#detach();
  }

  // The session's side.

  #begin() {
    this.newest = undefined;
    this.#offset = -1;
    this.#first = 0;
    try {
      this.#play = this.#client.play(this.#path, (m) => (m.t === "media" ? this.#status(m) : this.#fragment(m)));
    } catch (e) {
      this.#owner.state("gone", /** @type {Error} */ (e).message);
    }
  }

  /** @param {MediaInfo} m */
  #status(m) {
    this.info = m;
    this.counts.skipped += m.skipped ?? 0;
    if (m.status === "gone") this.#play = undefined;
    this.#owner.info(m);
  }

  /** @param {Media} m */
  #fragment(m) {
    this.counts.bytes += m.data.length;
    if (m.epoch !== this.#epoch) this.#newLife(m.epoch);
    if (m.init) return this.#init(m);
    this.counts.fragments++;
    if (m.discontinuity) this.counts.discontinuities++;
    if (m.offset <= this.#offset) return; // again, after a reconnect
    this.#offset = m.offset;
    this.#first ||= performance.now();
    if (m.kind === "video") this.#owner.frame(m.dts / 1e6);
    if (m.key || this.newest !== undefined) this.newest = m.dts / 1e6;
    if (this.#media?.readyState === "open") return this.#append(m);
    if (!this.#shown && ((m.key && m.kind === "video") || this.#early.length >= WAITING)) this.#early = [];
    this.#early.push(m);
  }

  /** The stream began anew, and its time with it. @param {string} epoch */
  #newLife(epoch) {
    if (this.#epoch) this.#owner.anew();
    this.#epoch = epoch;
    this.#offset = -1;
    this.#first = 0;
    this.#edge.reset();
    for (const b of this.#buffers.values()) b.clear();
  }

  /** @param {Media} m */
  #init(m) {
    this.#head = m;
    const tracks = this.#playable(m.data);
    if (tracks.length === 0 || !this.#shown) return;
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
    if (!Source) return this.#cannot("this browser has no media source extensions");
    const all = splitInit(init).flatMap((t) => {
      const track = this.info?.tracks?.find((x) => x.id === t.id);
      return track ? [{ ...t, mime: `${track.kind}/mp4; codecs="${track.codec}"`, codec: track.codec, kind: track.kind }] : [];
    });
    const some = all.filter((t) => Source.isTypeSupported(t.mime));
    const chosen = ["video", "audio"].flatMap((kind) => some.find((t) => t.kind === kind) ?? []);
    if (chosen.length === 0) return this.#cannot(`this browser has no decoder for ${all.map((t) => t.codec).join(" and ")}`);
    this.unsupported = "";
    const left = all.filter((t) => !some.includes(t));
    this.without = left.length === 0 ? "" : `without ${left.map((t) => t.kind).join()}: this browser has no decoder for ${left.map((t) => t.codec).join()}`;
    return chosen;
  }

  /** @param {string} why @returns {never[]} */
  #cannot(why) {
    this.unsupported = why;
    this.#owner.state("unsupported", why);
    return [];
  }

  // The browser's side.

  /** A new media source, for tracks of these kinds. What came before it was there waits in `early`. @param {string} kinds @param {Media} init */
  #attach(kinds, init) {
    const early = this.#media ? [] : this.#early, first = this.#first;
    this.#detach();
    this.#early = early;
    this.#first = first;
    const Source = /** @type {typeof MediaSource} */ (mediaSource());
    const media = new Source();
    this.#media = media;
    this.#kinds = kinds;
    this.#url = URL.createObjectURL(media);
    if (!("MediaSource" in globalThis)) this.#video.disableRemotePlayback = true; // a managed media source wants it so
    media.addEventListener("sourceopen", () => this.#media === media && this.#opened(media, init), { once: true });
    this.#video.srcObject = null;
    this.#video.src = this.#url;
    this.#owner.state("starting", this.without);
  }

  /** @param {MediaSource} media @param {Media} init */
  #opened(media, init) {
    media.duration = Infinity;
    for (const t of this.#playable(init.data)) {
      const b = new TrackBuffer(media, t.mime, t.kind === "video", () => this.#edge.lag === undefined && this.tick(), (e) => this.#media === media && this.failed(e));
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
    if (!this.#video.srcObject) this.#video.load(); // otherwise it plays that
  }

  /** @param {Media} m */
  #append(m) {
    this.#buffers.get(fragmentTrack(m.data))?.append(/** @type {Uint8Array<ArrayBuffer>} */ (m.data), m.key, m.dts / 1e6);
  }

  /** The browser gives up what it was given: starts again. @param {Error} e */
  failed(e) {
    const wait = Math.max(0, this.#restarted + RESTART - performance.now());
    this.#restarted = performance.now() + wait;
    this.counts.restarts++;
    this.#play?.close();
    this.#play = undefined;
    this.#detach();
    this.#owner.state("starting", e.message);
    setTimeout(() => this.#asked && !this.#play && this.#begin(), wait);
  }

  // The playhead.

  /** Goes to the live edge. */
  live() {
    this.#edge.reset();
    this.tick();
  }

  /** Playback goes on after it stood still: rather jumps now than plays faster for long. @param {number} most  how many seconds further behind it may be than it should */
  resumed(most) {
    if (this.#lag() > this.#edge.target + most) this.live();
  }

  /** Playback ran dry. */
  stalled() {
    this.counts.stalls++;
    this.#edge.stalled();
    this.#calm = performance.now();
  }

  /** Looks after the playhead and the buffers. */
  tick() {
    const v = this.#video, now = performance.now(), ranges = this.#ranges();
    if (!this.#media || ranges.length === 0 || now - this.#first < BURST) return;
    if (!v.paused || this.#edge.lag === undefined) this.#steer(ranges);
    const keep = Math.max(v.currentTime - this.#o.backBuffer, ranges[ranges.length - 1].end - AHEAD);
    for (const b of this.#buffers.values()) b.trim(keep);
    if (now - this.#calm <= CALM) return;
    this.#calm = now;
    this.#edge.calm();
  }

  /** Whether the element plays what is in the buffers. */
  get plays() {
    const v = this.#video;
    return this.#media !== undefined && !v.paused && !v.seeking && v.readyState > 1;
  }

  stats() {
    const range = this.#ranges().at(-1);
    return { latency: range && this.#video.readyState > 0 ? Math.max(0, this.#lag()) : 0, targetLatency: this.#edge.target, buffered: range ? range.end - range.start : 0 };
  }

  #lag() {
    return (this.#ranges().at(-1)?.end ?? 0) - this.#video.currentTime;
  }

  #ranges() {
    const b = this.#video.buffered, list = [];
    for (let i = 0; i < b.length; i++) list.push({ start: b.start(i), end: b.end(i) });
    return list;
  }

  /** @param {import("./edge.js").Range[]} ranges */
  #steer(ranges) {
    const v = this.#video;
    const move = this.#edge.step(v.currentTime, ranges);
    if (v.playbackRate !== move.rate) v.playbackRate = move.rate;
    if (move.seek === undefined) return;
    if (move.why === "hole") this.counts.holes++;
    if (move.why === "behind") this.counts.jumps++;
    v.currentTime = move.seek;
    if (move.why === "start" && v.paused) this.#owner.run();
  }
}
