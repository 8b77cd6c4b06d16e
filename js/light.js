/**
 * A traffic light for web pages: `<hawser-light>` shows the light and the state of a client, as colour and as words. It needs nothing but this file.
 *
 *     <hawser-light id="light"></hawser-light>
 *     document.getElementById("light").client = client;
 *
 * With the attribute `client="NAME"` it takes the client that the page keeps as `window.NAME`. The attribute `data-light` says the light, for the page's own style; the
 * parts `lamp` and `word` can be styled by `::part`, and `--hawser-red`, `--hawser-amber` and `--hawser-green` are its colours.
 *
 * @typedef {{state: string, light: string, observe: (f: (e: {state?: string, light: string, reason?: {text: string}}) => void) => () => void}} Observed  as Client is
 */

const STYLE = `
:host { display: inline-flex; align-items: center; gap: 0.5em; }
:host([hidden]) { display: none; }
.case { display: inline-flex; gap: 0.2em; padding: 0.2em 0.3em; border-radius: 0.7em; background: #20242a; }
.lamp { width: 0.75em; height: 0.75em; border-radius: 50%; background: #4a4f57; }
:host([data-light="red"]) .red { background: var(--hawser-red, #f0443a); box-shadow: 0 0 0.4em var(--hawser-red, #f0443a); }
:host([data-light="amber"]) .amber { background: var(--hawser-amber, #ffb020); box-shadow: 0 0 0.4em var(--hawser-amber, #ffb020); }
:host([data-light="green"]) .green { background: var(--hawser-green, #2fbf5b); box-shadow: 0 0 0.4em var(--hawser-green, #2fbf5b); }
`;

/** A part of the element, with its classes. @param {string} name @param {string} part @param {string} [more] */
function piece(name, part, more = "") {
  const e = document.createElement(name);
  e.className = `${part} ${more}`;
  e.setAttribute("part", part);
  return e;
}

const Base = globalThis.HTMLElement ?? class {}; // so that a program without a page may import this

/** The element `<hawser-light>`. */
export class HawserLight extends Base {
  static observedAttributes = ["client"];

  /** @type {Observed | undefined} */
  #client;
  #stop = () => {};
  #word = piece("span", "word");

  constructor() {
    super();
    const root = this.attachShadow({ mode: "open" }), style = new CSSStyleSheet();
    style.replaceSync(STYLE); // as a sheet, so that a page's policy against inline styles does not forbid it
    root.adoptedStyleSheets = [style];
    const lamps = piece("span", "case");
    lamps.append(...["red", "amber", "green"].map((light) => piece("span", "lamp", light)));
    root.append(lamps, this.#word);
  }

  /** The client that is shown. @returns {Observed | undefined} */
  get client() {
    return this.#client;
  }

  set client(client) {
    this.#client = client;
    if (this.isConnected) this.#watch();
  }

  connectedCallback() {
    if (!this.hasAttribute("role")) this.setAttribute("role", "status");
    this.#client ??= /** @type {any} */ (window)[this.getAttribute("client") ?? ""];
    this.#watch();
  }

  disconnectedCallback() {
    this.#stop();
  }

  /** @param {string} _name @param {string | null} _old @param {string | null} now */
  attributeChangedCallback(_name, _old, now) {
    if (now) this.client = /** @type {any} */ (window)[now];
  }

  #watch() {
    this.#stop();
    this.#show(this.#client?.state ?? "disconnected", this.#client?.light ?? "red");
    // A late observer is told the past first; what counts is what the client says it is now.
    this.#stop = this.#client?.observe((e) => this.#show(this.#client?.state ?? "", this.#client?.light ?? "red", e.reason?.text)) ?? (() => {});
  }

  /** @param {string} state @param {string} light @param {string} [why] */
  #show(state, light, why) {
    const word = state.replaceAll("_", " ");
    this.dataset.light = light;
    this.dataset.state = state;
    this.#word.textContent = word;
    this.setAttribute("aria-label", `${light}: ${word}`);
    this.title = why ? `${word}: ${why}` : word;
  }
}

globalThis.customElements?.define("hawser-light", HawserLight);
