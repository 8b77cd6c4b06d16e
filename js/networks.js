/** Counts how often the machine has got another network, as far as a browser tells. */
export class Networks {
  count = 0;

  #connection = /** @type {EventTarget | undefined} */ (/** @type {any} */ (globalThis.navigator)?.connection);

  constructor() {
    globalThis.addEventListener?.("online", this.changed);
    this.#connection?.addEventListener?.("change", this.changed);
  }

  changed = () => {
    this.count++;
  };

  close() {
    globalThis.removeEventListener?.("online", this.changed);
    this.#connection?.removeEventListener?.("change", this.changed);
  }
}
