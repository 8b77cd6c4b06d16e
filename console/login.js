import { byId, setText } from "./dom.js";

/** Where the credentials are while the tab is open; in no address, cookie or log. */
const KEY = "hawser.credentials";

/** The credentials that were given in this tab; "" for none. */
export function credentials() {
  return sessionStorage.getItem(KEY) ?? "";
}

/** Asks who the visitor is when the server wants to know, and says what to do. */
export class Login {
  #client;

  /** @param {import("./js/client.js").Client} client */
  constructor(client) {
    this.#client = client;
    client.observe((e) => this.#state(e));
    byId("login").addEventListener("submit", (/** @type {SubmitEvent} */ e) => {
      e.preventDefault();
      const user = byId("login-user").value.trim(), secret = byId("login-secret").value;
      sessionStorage.setItem(KEY, user ? `${user}:${secret}` : secret.trim());
      location.reload(); // all begins anew as somebody else
    });
    byId("sign-out").addEventListener("click", () => {
      sessionStorage.removeItem(KEY);
      location.reload();
    });
  }

  /** The server lets this visitor in, but does not show what is live. @param {string} text */
  refused(text) {
    if (credentials()) setText(byId("welcome-text"), `You are signed in, but may not see what is live (${text}). Follow a path that you know, or ask who runs this server for the rule "subscribe /sys/*".`);
    else this.#ask("Who are you?", "This server shows what is live only to those it knows. Sign in, or follow a path that is open to everybody.");
  }

  /** @param {{state?: string, reason?: {word: string, text: string}}} e */
  #state({ state, reason }) {
    const known = credentials() !== "";
    byId("sign-out").hidden = !known;
    if (state === "logged_in") {
      setText(byId("who"), this.#client.user);
      byId("signin").hidden = true;
    } else if (state === "login_failed") {
      this.#ask(known ? "That was not accepted" : "Who are you?",
        known ? `The server says: ${reason?.text || "these credentials are not good"}. Check them, or ask who runs this server for others.` : "This server lets in only those it knows. Who runs it gives out tokens, keys and passwords.");
    }
  }

  /** @param {string} title @param {string} text */
  #ask(title, text) {
    setText(byId("signin-title"), title);
    setText(byId("signin-text"), text);
    setText(byId("live-none"), "Sign in to see what is live.");
    byId("signin").hidden = false;
    byId("welcome").hidden = true;
    byId("login-secret").focus();
  }
}
