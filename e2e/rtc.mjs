// A browser that does what it is told on its standard input: a line {"do": NAME, "with": {...}} calls a function of rtcpage.js, and is answered by a line of JSON. The tests start it as
//
//     node rtc.mjs JSON    with {browser, name: "chromium" | "firefox", scratch: a folder for what the browser writes}
//
// Its page is on this host's own address, which browsers trust with a camera.
import { createServer } from "node:http";
import { readFile } from "node:fs/promises";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";
import { firefox } from "./firefox.mjs";

const FLAGS = [
  "--no-sandbox", // in a container
  "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync", "--no-first-run",
  "--disable-background-timer-throttling", "--disable-renderer-backgrounding", "--autoplay-policy=no-user-gesture-required",
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream=fps=30",
  "--disable-features=WebRtcHideLocalIpsWithMdns", // nobody answers mDNS here
];

const PAGE = `<!doctype html><html lang="en"><meta charset="utf-8"><title>rtc</title><body><video muted playsinline width="640" height="360"></video><script type="module" src="/rtcpage.js"></script></body></html>`;

const say = (/** @type {object} */ o) => console.log(JSON.stringify(o));

/** Serves the page and its module. */
async function serve() {
  const script = await readFile(new URL("rtcpage.js", import.meta.url));
  const server = createServer((request, response) => {
    const [type, body] = { "/": ["text/html", PAGE], "/rtcpage.js": ["text/javascript", script] }[request.url] ?? ["text/plain", ""];
    response.writeHead(200, { "Content-Type": type }).end(body);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  return `http://localhost:${server.address().port}/`;
}

/** A Chromium with one page: evaluate takes an expression and returns the string that it makes. */
async function openChromium(o, url, complain) {
  const browser = await chromium.launch({ executablePath: o.browser, args: FLAGS, headless: true });
  const page = await browser.newPage();
  page.on("pageerror", (e) => complain(String(e)));
  page.on("console", (m) => m.type() === "error" && complain(m.text()));
  return { load: () => page.goto(url), evaluate: (text) => page.evaluate(text), screenshot: (path) => page.screenshot({ path }), close: () => browser.close() };
}

const o = JSON.parse(process.argv[2]);
const errors = [];
const complain = (text) => errors.push(text);
const url = await serve();
const browser = await (o.name === "firefox" ? firefox(o, url, complain) : openChromium(o, url, complain));

/** What can be asked for beside the functions of rtcpage.js. */
const own = { load: () => browser.load(), screenshot: ({ path }) => browser.screenshot(path) };

async function call({ do: name, with: argument }) {
  if (own[name]) {
    await own[name](argument);
    return {};
  }
  return JSON.parse(await browser.evaluate(`(async () => JSON.stringify((await rtc[${JSON.stringify(name)}](${JSON.stringify(argument ?? {})})) ?? {}))()`));
}

try {
  await browser.load();
  say({ ready: true });
  for await (const line of createInterface(process.stdin)) {
    const result = await call(JSON.parse(line)).then((answer) => ({ answer }), (e) => ({ failed: String(e.stack ?? e) }));
    say({ ...result, errors: errors.splice(0) });
  }
} finally {
  await browser.close();
  process.exit(0); // the page's server has open connections
}
