import { Client } from "./js/index.js";
import "./js/light.js";
import { byId, setText } from "./dom.js";
import { Events } from "./events.js";
import { LiveList } from "./live.js";
import { credentials, Login } from "./login.js";
import { View } from "./view.js";

const client = new Client({ name: "hawser-console/0.1", token: credentials() });
const events = new Events();
client.onevent = (e) => {
  events.add(e);
  view?.event(e);
};
byId("light").client = client;

const login = new Login(client);
const list = new LiveList(client);
/** @type {View | undefined} */
let view;

/** The port of RTMP addresses that name none. */
const DEFAULT_RTMP_PORT = 1935;

/** The light of each of the player's states. @type {{[state: string]: string}} */
const LIGHTS = { playing: "green", gone: "red", unsupported: "red" };

/** The path of the address: #/live/cam1. */
function pathOfAddress() {
  try {
    return decodeURI(location.hash.slice(1)).replace(/\/+$/, "");
  } catch {
    return "";
  }
}

/** Shows what the address says. */
function route() {
  const path = pathOfAddress();
  if (view?.path === path) return;
  view?.close();
  view = undefined;
  if (path.startsWith("/")) open(path);
  list.choose(path);
  byId("view").hidden = !view;
  byId("welcome").hidden = Boolean(view);
  byId("page").toggleAttribute("data-open", Boolean(view));
  document.title = view ? `${path} – Hawser` : "Hawser";
}

/** @param {string} path */
function open(path) {
  try {
    const isMedia = () => Boolean(list.paths[path]?.tracks?.length);
    view = new View(client, path, isMedia, (state, detail) => {
      if (state !== "waiting" || isMedia()) events.note(LIGHTS[state] ?? "amber", `player ${state}`, detail);
    });
  } catch (e) {
    events.note("red", /** @type {Error} */ (e).message);
  }
}

/** Says what to do when nothing is chosen. */
function greet() {
  const some = Object.keys(list.paths).length > 0;
  setText(byId("welcome-title"), some ? "Choose what to follow" : "Nothing is live yet");
  setText(byId("welcome-text"), some ? "Pick a path from the list, or publish another one." : "Publish something, and it appears here at once.");
}

/** Shows where to publish media; the server says on which port. @param {number} port */
function showRTMP(port) {
  const rtmp = `rtmp://${location.hostname || "localhost"}${port === DEFAULT_RTMP_PORT ? "" : ":" + port}/live`;
  for (const e of document.querySelectorAll(".rtmp-base")) setText(e, rtmp);
  setText(byId("command-ffmpeg"), `ffmpeg -re -i FILE -c copy -f flv ${rtmp}/cam1`);
}

function commands() {
  showRTMP(DEFAULT_RTMP_PORT);
  const about = client.subscribe("/sys/server", () => showRTMP(about.fields.rtmpPort ?? DEFAULT_RTMP_PORT));
  setText(byId("command-data"), `curl -d '{"x":0.5,"y":0.5,"label":"here"}' ${location.origin}/api/v1/subjects/live/cam1`);
  for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("button.copy"))) {
    button.hidden = !navigator.clipboard;
    button.addEventListener("click", async () => {
      await navigator.clipboard.writeText(byId(button.dataset.copy ?? "").textContent);
      setText(button, "Copied");
      setTimeout(() => setText(button, "Copy"), 1500);
    });
  }
}

byId("follow").addEventListener("submit", (/** @type {SubmitEvent} */ e) => {
  e.preventDefault();
  location.hash = encodeURI(byId("follow-path").value.trim());
});
addEventListener("hashchange", route);
list.onchange = greet;
list.onrefused = (text) => login.refused(text);
commands();
greet();
client.connect();
route();

/** For tests, and for people in the developer tools. */
Object.assign(window, {
  hawser: {
    client,
    get player() {
      return view?.player;
    },
    /** Numbers of the connection, the player, the data and the marks. */
    stats: () => ({
      framesPresented: 0,
      audioDecodedBytes: 0,
      ...view?.player.stats(),
      playerState: view?.player.state ?? "closed",
      state: client.state,
      light: client.light,
      transport: client.transport,
      rtt: client.rtt,
      marksDrawn: view?.marks.drawn ?? 0,
      currentMark: view?.marks.current ? { ...view.marks.current } : null,
      data: view ? { ...view.data.counts } : null,
      live: Object.keys(list.paths),
    }),
  },
});
