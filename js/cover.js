/** How good the picture is that stands in, from 0 to 1. */
const QUALITY = 0.85;

/** The size of a background that lies as the picture does, by object-fit. @type {{[fit: string]: string}} */
const SIZES = { fill: "100% 100%", cover: "cover", none: "auto" };

/** What is set of the element's style. */
const STYLES = /** @type {const} */ (["backgroundImage", "backgroundSize", "backgroundPosition", "backgroundRepeat"]);

/**
 * Keeps the picture of a <video> while what it plays is replaced: an element that is given a new source is empty until its first frame. Its last frame stands in until then: as the
 * poster, and, since a browser hides that as soon as playback is asked for, as the background that shows through.
 */
export class Cover {
  #video;
  #url = "";
  /** @type {Promise<void> | undefined} */
  #putting;
  /** The page's own. @type {{poster: string, style: string[]}} */
  #own = { poster: "", style: [] };

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
  }

  /** Puts the present frame under the element, unless it lies there, and waits until it can be seen; what fails leaves the element as it is. */
  put() {
    this.#putting ??= this.#put();
    return this.#putting;
  }

  async #put() {
    const v = this.#video;
    if (v.readyState < 2 || !v.videoWidth || !globalThis.document?.createElement) return;
    const canvas = Object.assign(document.createElement("canvas"), { width: v.videoWidth, height: v.videoHeight });
    try {
      canvas.getContext("2d")?.drawImage(v, 0, 0);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
      if (!blob) return;
      const url = URL.createObjectURL(blob), image = new Image();
      this.#use(url);
      image.src = url;
      await image.decode();
    } catch {
      // no picture to be had, or the page's policy forbids it (img-src blob:): the switch is seen
    }
  }

  /** There is a frame: gives the element what the page had set. */
  lift() {
    this.#putting = undefined;
    if (!this.#url) return;
    const v = this.#video;
    v.poster = this.#own.poster;
    STYLES.forEach((name, i) => (v.style[name] = this.#own.style[i]));
    URL.revokeObjectURL(this.#url);
    this.#url = "";
  }

  /** @param {string} url */
  #use(url) {
    const v = this.#video, { style } = v;
    if (this.#url) URL.revokeObjectURL(this.#url);
    else this.#own = { poster: v.poster, style: STYLES.map((name) => style[name]) };
    this.#url = url;
    v.poster = url;
    const { objectFit, objectPosition } = getComputedStyle(v);
    style.backgroundImage = `url("${url}")`;
    style.backgroundSize = SIZES[objectFit] ?? "contain";
    style.backgroundPosition = objectPosition;
    style.backgroundRepeat = "no-repeat";
  }
}
