/**
 * Counts how often the machine has got another network, as far as a browser tells.
 *
 * @typedef {EventTarget & {type?: string}} Connection  as navigator.connection is
 */
export class Networks {
  count = 0;

  /** @type {Connection | undefined} */
  #connection = /** @type {any} */ (globalThis.navigator)?.connection;
  #type = this.#connection?.type;

  constructor() {
    globalThis.addEventListener?.("online", this.changed);
    this.#connection?.addEventListener?.("change", this.#other);
  }

  changed = () => {
    this.count++;
  };

  /** It tells of other speeds, too. */
  #other = () => {
    const before = this.#type;
    this.#type = this.#connection?.type;
    if (before !== this.#type) this.changed();
  };

  close() {
    globalThis.removeEventListener?.("online", this.changed);
    this.#connection?.removeEventListener?.("change", this.#other);
  }
}
