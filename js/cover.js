/** How good the picture is that stands in, from 0 to 1. */
const QUALITY = 0.85;

/**
 * Keeps the picture of a <video> while what it plays is replaced: its last frame stands in as the poster, until the first frame of what comes. An element that is given a new
 * source is empty until then.
 */
export class Cover {
  #video;
  #own = ""; // the page's own poster
  #url = "";

  /** @param {HTMLVideoElement} video */
  constructor(video) {
    this.#video = video;
  }

  /** Makes a poster of what is shown, and waits until it can be seen; what fails leaves the element as it is. */
  async put() {
    const v = this.#video;
    if (v.readyState < 2 || !v.videoWidth || !globalThis.document?.createElement) return;
    const canvas = Object.assign(document.createElement("canvas"), { width: v.videoWidth, height: v.videoHeight });
    try {
      canvas.getContext("2d")?.drawImage(v, 0, 0);
      const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/jpeg", QUALITY));
      if (!blob) return;
      const url = URL.createObjectURL(blob), image = new Image();
      image.src = url;
      this.#use(url);
      await image.decode();
    } catch {
      // no picture to be had, or no decoder for it: the switch is seen
    }
  }

  /** There is a frame: gives the page's own poster back. */
  lift() {
    if (!this.#url) return;
    this.#video.poster = this.#own;
    URL.revokeObjectURL(this.#url);
    this.#url = "";
  }

  /** @param {string} url */
  #use(url) {
    if (this.#url) URL.revokeObjectURL(this.#url);
    else this.#own = this.#video.poster;
    this.#url = url;
    this.#video.poster = url;
  }
}
