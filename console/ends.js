import { byId, clock, make } from "./dom.js";

/**
 * @typedef {import("./js/client.js").ClientEvent} ClientEvent
 * @typedef {import("./js/player.js").Player} Player
 */

/** How many changes are listed. */
const ROWS = 60;

/** What carries the picture, in words. @type {{[transport: string]: string}} */
export const CARRIERS = { webrtc: "WebRTC", websocket: "session" };

/** What carries the picture, and how both ends of its WebRTC connection see it, side by side and in one order: the newest change first. */
export class Ends {
  #player;
  #card = byId("ends");
  #rows = byId("ends-rows");

  /** @param {Player} player */
  constructor(player) {
    this.#player = player;
    this.close();
  }

  close() {
    this.#card.hidden = true;
    this.#rows.replaceChildren();
  }

  /** @param {ClientEvent} e  of the path */
  add(e) {
    const { transport, webrtc } = this.#player.stats();
    const text = e.kind === "switch" ? `to ${CARRIERS[e.transport ?? ""]}: ${e.detail}` : webrtc.pair;
    const side = (/** @type {"browser" | "server"} */ from, /** @type {string} */ state) =>
      make("td", e.kind === "ice" && e.from === from ? { class: "changed", "data-light": e.light } : {}, make("span", { class: "dot" }), ` ${state || "–"}`);
    const cells = [make("td", {}, clock(e.time)), make("td", {}, CARRIERS[transport] ?? "–"), side("browser", webrtc.here), side("server", webrtc.there), make("td", {}, text)];
    this.#rows.prepend(make("tr", {}, ...cells));
    if (this.#rows.children.length > ROWS) this.#rows.lastElementChild.remove();
    this.#card.hidden = false;
  }
}
