/**
 * Marks over a video: data with a place in the picture, drawn while the frame that it belongs to is shown.
 *
 * @typedef {{x: number, y: number, label?: string}} Place  from 0 to 1, from the picture's left upper corner
 * @typedef {{time: number, x: number, y: number, label: string, mediaTime: number}} Mark  time (of the data) and mediaTime (of the frame) in seconds
 */

/** A mark that is not renewed is drawn for so many seconds of media time. */
const LIFE = 1;

/** Whether published data is a place in the picture. @param {any} data @returns {data is Place} */
export function isPlace(data) {
  const within = (/** @type {any} */ v) => typeof v === "number" && v >= 0 && v <= 1;
  return typeof data === "object" && data !== null && within(data.x) && within(data.y);
}

export class Marks {
  /** The mark that was drawn last. @type {Mark | undefined} */
  current;
  /** How many were drawn. */
  drawn = 0;

  #canvas;
  #video;
  #pending = false;
  /** The newest of each label. @type {Map<string, Mark>} */
  #marks = new Map();
  #resize;

  /** @param {HTMLCanvasElement} canvas  covers the video @param {HTMLVideoElement} video */
  constructor(canvas, video) {
    this.#canvas = canvas;
    this.#video = video;
    this.#resize = new ResizeObserver(() => this.#draw());
    this.#resize.observe(canvas);
    video.addEventListener("resize", () => this.#draw());
  }

  /** @param {Place} place @param {number} time  of the data, in seconds @param {number} mediaTime  of the frame that is shown, in seconds */
  set({ x, y, label = "" }, time, mediaTime) {
    this.current = { time, x, y, label, mediaTime };
    this.#marks.set(label, this.current);
    this.drawn++;
    if (this.#pending) return;
    this.#pending = true; // one drawing for all that belongs to a frame, still before it is shown
    queueMicrotask(() => {
      this.#pending = false;
      this.#draw();
    });
  }

  clear() {
    this.#marks.clear();
    this.current = undefined;
    this.#draw();
  }

  /** Where the picture is within the canvas, in device pixels: it keeps its shape, with bars beside it. */
  #picture() {
    const { width, height } = this.#canvas, { videoWidth: w, videoHeight: h } = this.#video;
    if (!w || !h) return { left: 0, top: 0, width, height };
    const scale = Math.min(width / w, height / h);
    return { left: (width - w * scale) / 2, top: (height - h * scale) / 2, width: w * scale, height: h * scale };
  }

  #draw() {
    const c = this.#canvas, ratio = devicePixelRatio || 1;
    const width = Math.round(c.clientWidth * ratio), height = Math.round(c.clientHeight * ratio);
    if (c.width !== width || c.height !== height) Object.assign(c, { width, height });
    const g = c.getContext("2d");
    if (!g) return;
    g.clearRect(0, 0, width, height);
    const now = this.current?.mediaTime ?? 0, p = this.#picture();
    for (const [label, m] of this.#marks) {
      if (Math.abs(now - m.mediaTime) > LIFE) this.#marks.delete(label);
      else ring(g, p.left + m.x * p.width, p.top + m.y * p.height, Math.max(10 * ratio, p.width / 32), ratio, label);
    }
  }
}

/** @param {CanvasRenderingContext2D} g @param {number} x @param {number} y @param {number} r @param {number} ratio @param {string} label */
function ring(g, x, y, r, ratio, label) {
  for (const [color, width] of /** @type {const} */ ([["rgb(0 0 0 / 55%)", 5], ["#ff8a3d", 2.5]])) {
    g.strokeStyle = color;
    g.lineWidth = width * ratio;
    g.beginPath();
    g.arc(x, y, r, 0, 2 * Math.PI);
    g.moveTo(x - r * 1.4, y);
    g.lineTo(x - r * 0.7, y);
    g.moveTo(x + r * 0.7, y);
    g.lineTo(x + r * 1.4, y);
    g.stroke();
  }
  if (!label) return;
  g.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  g.lineWidth = 3 * ratio;
  g.strokeStyle = "rgb(0 0 0 / 65%)";
  g.strokeText(label, x + r * 1.1, y - r * 0.9);
  g.fillStyle = "#fff";
  g.fillText(label, x + r * 1.1, y - r * 0.9);
}
