/** As much of a <video> and its media source as the player uses; the test is the browser. */

class Target {
  #listeners = new Map();
  addEventListener(name, f, options) {
    const list = this.#listeners.get(name) ?? [];
    this.#listeners.set(name, [...list, { f, once: options?.once }]);
  }
  removeEventListener(name, f) {
    this.#listeners.set(name, (this.#listeners.get(name) ?? []).filter((l) => l.f !== f));
  }
  emit(name) {
    const list = this.#listeners.get(name) ?? [];
    this.#listeners.set(name, list.filter((l) => !l.once));
    for (const { f } of list) f({ type: name });
  }
}

export const ranges = (...list) => ({ length: list.length, start: (i) => list[i][0], end: (i) => list[i][1] });

export class FakeSourceBuffer extends Target {
  updating = false;
  buffered = ranges();
  /** What was done, in order. */
  done = [];
  full = false;

  constructor(mime) {
    super();
    this.mime = mime;
  }
  #do(...what) {
    if (this.updating) throw new Error("InvalidStateError");
    this.done.push(what);
    this.updating = true;
  }
  appendBuffer(bytes) {
    if (this.full) throw Object.assign(new Error("full"), { name: "QuotaExceededError" });
    this.#do("append", bytes);
  }
  remove(start, end) {
    this.#do("remove", start, end);
  }
  changeType(mime) {
    this.done.push(["type", mime]);
  }
  /** Ends what is under way, and what follows from it, and returns what was done. */
  settle() {
    while (this.updating) {
      this.updating = false;
      this.emit("updateend");
    }
    return this.done.splice(0);
  }
}

export class FakeMediaSource extends Target {
  static last;
  static unsupported = /hvc1/;
  static isTypeSupported = (mime) => !FakeMediaSource.unsupported.test(mime);
  readyState = "closed";
  buffers = [];

  constructor() {
    super();
    FakeMediaSource.last = this;
  }
  addSourceBuffer(mime) {
    this.buffers.push(new FakeSourceBuffer(mime));
    return this.buffers.at(-1);
  }
  open() {
    this.readyState = "open";
    this.emit("sourceopen");
  }
}

export class FakeVideo extends Target {
  buffered = ranges();
  currentTime = 0;
  playbackRate = 1;
  readyState = 0;
  paused = true;
  muted = false;
  videoWidth = 640;
  videoHeight = 360;
  #callback;
  #presented = 0;

  async play() {
    this.paused = false;
    this.readyState = 4;
  }
  load() {}
  removeAttribute(name) {
    delete this[name];
  }
  requestVideoFrameCallback(f) {
    this.#callback = f;
    return 1;
  }
  cancelVideoFrameCallback() {
    this.#callback = undefined;
  }
  present(mediaTime, more) {
    this.#callback?.(0, { mediaTime, presentedFrames: ++this.#presented, ...more });
  }
}
