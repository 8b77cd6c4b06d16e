import { byId, clock, make } from "./dom.js";
import { CARRIERS } from "./ends.js";

/** How many events are listed. */
const ROWS = 200;

/** What each state means, in a sentence's beginning. @type {{[state: string]: string}} */
const STATES = {
  disconnected: "Disconnected",
  connecting: "Connecting",
  failed: "Could not connect",
  connected: "Connected, logging in",
  retrieving_credentials: "Asking for credentials",
  credentials_retrieved: "Credentials are there",
  credentials_retrieval_failed: "No credentials",
  logged_in: "Logged in",
  login_failed: "The server refused the login",
  lost: "Connection lost",
  reconnected: "Session resumed, everything held",
  unreachable: "No network",
  paused: "Paused",
  ejected: "Ejected by the server",
};

/** Shows the events of the connection, newest first. */
export class Events {
  #list = byId("events");

  /** @param {import("./js/client.js").ClientEvent} e */
  add(e) {
    const why = e.kind === "switch" || e.kind === "ladder" ? e.detail : e.reason && `${e.reason.word}${e.reason.text ? `: ${e.reason.text}` : ""}`;
    this.#row(e.time, e.light, sentence(e), why);
  }

  /** What the player says. @param {string} light @param {string} text @param {string} [why] */
  note(light, text, why) {
    this.#row(new Date(), light, text, why);
  }

  /** @param {Date} time @param {string} light @param {string} text @param {string} [why] */
  #row(time, light, text, why) {
    const what = make("span", {}, text);
    if (why) what.append(" ", make("span", { class: "why" }, why));
    const dot = make("span", { class: "dot", role: "img", "aria-label": light });
    this.#list.prepend(make("li", { "data-light": light }, make("time", { datetime: time.toISOString() }, clock(time)), dot, what));
    if (this.#list.children.length > ROWS) this.#list.lastElementChild.remove();
  }
}

/** @param {import("./js/client.js").ClientEvent} e */
function sentence(e) {
  if (e.kind === "transport" || e.kind === "moved") return `Moved from ${e.from} to ${e.kind === "moved" ? e.server : e.transport}`;
  if (e.kind === "switch") return `The picture of ${e.path} goes from ${CARRIERS[e.from ?? ""]} to ${CARRIERS[e.transport ?? ""]}`;
  if (e.kind === "ladder") return `No WebRTC for ${e.path}${e.delay === undefined ? "" : `, next attempt in ${(e.delay / 1000).toFixed(1)} s`}`;
  if (e.kind === "ice") return `ICE ${e.from === "server" ? "at the server" : "here"} ${e.detail}`;
  if (e.kind !== "state") return [e.kind, e.path, e.detail].filter(Boolean).join(" ");
  let text = STATES[e.state ?? ""] ?? e.state ?? "";
  if (e.state === "connecting") text += ` to ${e.server}${(e.attempt ?? 1) > 1 ? `, attempt ${e.attempt}` : ""}`;
  if (e.delay !== undefined) text += `, next attempt in ${(e.delay / 1000).toFixed(1)} s`;
  return text;
}
