import { Player } from "./js/index.js";
import { DataView } from "./data.js";
import { CARRIERS, Ends } from "./ends.js";
import { Marks, isPlace } from "./marks.js";
import { byId, make, setText, trackName } from "./dom.js";

/**
 * @typedef {import("./js/client.js").Client} Client
 * @typedef {import("./js/machine.js").SubjectEvent} SubjectEvent
 */

/** How often the numbers are written, in ms. */
const REFRESH = 500;

/** What the notice over the picture says in each state; nothing while it plays. @type {{[state: string]: string}} */
const NOTICES = {
  waiting: "Waiting for a publisher",
  starting: "Starting",
  stalled: "Waiting for the network",
  blocked: "Press play to start",
  gone: "This stream is over",
  unsupported: "This browser cannot play the stream",
};

/** What the viewer chose last; a browser that has had a click allows sound. */
let muted = true;

/** The path that is open: its picture with marks, its data, its numbers. */
export class View {
  /** @type {string} */
  path;
  /** @type {Player} */
  player;
  /** @type {Marks} */
  marks;
  /** @type {DataView} */
  data;

  #client;
  #ends;
  #onevent;
  #isMedia;
  #timer;
  #stop = new AbortController();
  #bytes = 0;
  #rate = 0;

  /**
   * @param {Client} client @param {string} path
   * @param {() => boolean} isMedia  whether the list of what is live says that there is media
   * @param {(state: string, detail: string) => void} onevent  of the player
   */
  constructor(client, path, isMedia, onevent) {
    this.#client = client;
    this.path = path;
    this.#isMedia = isMedia;
    this.#onevent = onevent;
    const video = byId("video");
    this.marks = new Marks(byId("marks"), video);
    this.data = new DataView();
    this.player = new Player(client, path, video, { muted });
    this.#ends = new Ends(this.player);
    this.player.ondata = (m, frame) => this.#received(m, frame);
    this.player.onstate = (state, detail) => this.#state(state, detail);
    setText(byId("path"), path);
    byId("stage").hidden = byId("numbers").hidden = !isMedia();
    this.#controls(video);
    this.player.start();
    this.#state(this.player.state, "");
    this.#timer = setInterval(() => this.#refresh(), REFRESH);
    this.#refresh();
  }

  close() {
    clearInterval(this.#timer);
    this.#stop.abort();
    this.player.close();
    this.marks.clear();
    this.data.close();
    this.#ends.close();
  }

  /** What the client tells. @param {import("./js/client.js").ClientEvent} e */
  event(e) {
    if (e.path === this.path && (e.kind === "ice" || e.kind === "switch")) this.#ends.add(e);
  }

  /** @param {SubjectEvent} m @param {import("./js/frames.js").Frame | null} frame */
  #received(m, frame) {
    const place = m.t === "update" && isPlace(m.data);
    if (place && frame) this.marks.set(m.data, (m.time ?? 0) / 1000, frame.mediaTime);
    else if (place && this.player.state === "playing") this.marks.set(m.data, this.player.stats().mediaTime, this.player.stats().mediaTime);
    this.data.add(m, !place || byId("stage").hidden);
  }

  /** @param {string} state @param {string} detail */
  #state(state, detail) {
    const notice = byId("notice"), text = NOTICES[state];
    notice.classList.toggle("shown", text !== undefined);
    if (text) setText(notice, detail ? `${text}: ${detail}` : text);
    if (state !== "closed") this.#onevent(state, detail);
  }

  /** @param {HTMLVideoElement} video */
  #controls(video) {
    const stage = byId("stage"), pause = byId("pause"), mute = byId("mute");
    const show = () => {
      pause.toggleAttribute("data-on", video.paused);
      pause.setAttribute("aria-label", video.paused ? "Play" : "Pause");
      mute.toggleAttribute("data-on", video.muted);
      mute.setAttribute("aria-pressed", String(video.muted));
      setText(byId("mute-text"), video.muted ? "Unmute" : "Mute");
    };
    const act = {
      pause: () => (video.paused ? void video.play().catch(() => {}) : video.pause()),
      mute: () => (muted = video.muted = !video.muted),
      full: () => (document.fullscreenElement ? document.exitFullscreen() : stage.requestFullscreen?.()),
    };
    const { signal } = this.#stop;
    for (const name of ["play", "pause", "volumechange"]) video.addEventListener(name, show, { signal });
    for (const [name, f] of Object.entries(act)) byId(name).addEventListener("click", f, { signal });
    byId("stage").addEventListener("dblclick", act.full, { signal });
    addEventListener("keydown", (e) => {
      if (e.ctrlKey || e.metaKey || e.altKey || /** @type {Element} */ (e.target).closest("input, button, a")) return;
      const f = { " ": act.pause, m: act.mute, f: act.full }[e.key];
      if (!f || stage.hidden) return;
      e.preventDefault();
      f();
    }, { signal });
    show();
  }

  #refresh() {
    const { info } = this.player;
    if (info?.status === "live" || this.#isMedia()) byId("stage").hidden = byId("numbers").hidden = false;
    setText(byId("summary"), (info?.tracks ?? []).map(trackName).join(" · "));
    if (byId("stage").hidden) return;
    const s = this.player.stats();
    const bytes = s.bytes + (s.webrtc.bytesReceived ?? 0);
    this.#rate += (Math.max(0, bytes - this.#bytes) * 8 / REFRESH - this.#rate) / 4;
    this.#bytes = bytes;
    if (s.width > 0) byId("stage").style.aspectRatio = `${s.width} / ${s.height}`;
    setText(byId("behind"), s.state === "playing" ? `${s.latency.toFixed(1)} s behind` : "");
    writeNumbers(this.#numbers(s));
  }

  /** @param {ReturnType<Player["stats"]>} s @returns {[string, string][]} */
  #numbers(s) {
    const mark = this.marks.current;
    const rtt = this.#client.rtt, rtc = s.webrtc;
    return [
      ["Frames presented", s.framesPresented.toLocaleString("en")],
      ["Frames dropped", String(s.framesDropped)],
      ["Sound decoded", `${(s.audioDecodedBytes / 1000).toLocaleString("en", { maximumFractionDigits: 0 })} kB`],
      ["Picture by", CARRIERS[s.transport] ?? "–"],
      ["WebRTC", rtc.detail ? `${rtc.phase}: ${rtc.detail}` : rtc.phase],
      ["ICE, here / server", rtc.here ? `${rtc.here} / ${rtc.there || "–"}` : "–"],
      ["Behind what came", `${s.latency.toFixed(2)} s`],
      ["Speed", `${s.playbackRate.toFixed(2)} ×`],
      ["Received", `${Math.round(this.#rate).toLocaleString("en")} kbit/s`],
      ["Codecs", s.codecs.join(", ") || "–"],
      ["Session over", this.#client.transport],
      ["Round trip", rtt === undefined ? "–" : `${rtt.toFixed(1)} ms`],
      ["Stalls, jumps, holes", `${s.stalls}, ${s.jumps}, ${s.holes}`],
      ["Left out by the server", String(s.skipped)],
      ["Mark", mark ? `${mark.x.toFixed(3)}, ${mark.y.toFixed(3)}` : "–"],
    ];
  }
}

/** @param {[string, string][]} numbers */
function writeNumbers(numbers) {
  const list = byId("numbers");
  if (list.children.length !== numbers.length) list.replaceChildren(...numbers.map(([name]) => make("div", {}, make("dt", {}, name), make("dd"))));
  numbers.forEach(([, value], i) => setText(list.children[i].lastElementChild, value));
}
