// Opens the console in a browser and says, in lines of JSON, what it sees there. The tests start it as
//
//     node browser.mjs JSON    with {browser, url, path, does, ...}; does is a name of what is exported below
//
// The last line is the answer, with what the page complained of as "errors".
import { chromium } from "playwright-core";
import { UNREACHABLE, channels, climbs, publishes, stays, tells } from "./ladder.mjs";
import { failover, frozen, offline, plain } from "./session.mjs";

const FLAGS = [
  "--no-sandbox", // in a container
  "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync", "--no-first-run",
  "--disable-background-timer-throttling", "--disable-renderer-backgrounding",
  "--host-resolver-rules=MAP *.hawser.test 127.0.0.1", // names that need a network, unlike localhost
  "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--disable-features=WebRtcHideLocalIpsWithMdns", // nobody answers mDNS here
];

/** What the browser complains of by itself when a network or a server is gone. */
const GONE = /net::ERR_|WebSocket connection to|Failed to load resource/;

const PATIENCE = 60_000; // ms until what is waited for is there

const say = (/** @type {object} */ o) => console.log(JSON.stringify(o));

/** Chooses the path in the list of what is live and waits until pictures are presented. */
async function choose(page, { path }) {
  const link = page.locator("#live a").filter({ has: page.getByText(path, { exact: true }) });
  await link.click({ timeout: PATIENCE });
  await page.waitForFunction(() => globalThis.hawser?.stats()?.framesPresented > 10, null, { timeout: PATIENCE });
}

/** Plays a stream for a while: the page's numbers at both ends, its lights, and a screenshot. */
async function play(page, o) {
  await choose(page, o);
  const numbers = () => page.evaluate(() => globalThis.hawser.stats());
  const before = await numbers();
  await page.waitForTimeout(o.ms);
  const after = await numbers();
  const screen = await page.screenshot({ path: o.shot });
  const video = await page.locator("#video").boundingBox();
  const light = await page.locator("#light").getAttribute("data-light");
  const events = await page.locator("#events li").count();
  return { before, after, video, light, events, shot: o.shot, bytes: screen.length };
}

/**
 * Plays while the publisher goes and comes back, until some more frames were presented: the states of the player in order, and how often the time of
 * its frames went back.
 */
async function outage(page, o) {
  await choose(page, o);
  const before = await page.evaluate(() => {
    const { player, stats } = globalThis.hawser, video = document.querySelector("#video"), tell = player.onstate;
    const seen = (globalThis.e2e = { states: [player.state], back: 0, frames: 0 });
    player.onstate = (state, detail) => {
      seen.states.push(state);
      seen.frames = 0;
      tell?.(state, detail);
    };
    let last;
    const frame = (_, { mediaTime }) => {
      if (last !== undefined && mediaTime < last) seen.back++;
      last = mediaTime;
      seen.frames++;
      video.requestVideoFrameCallback(frame);
    };
    video.requestVideoFrameCallback(frame);
    return stats();
  });
  await page.waitForFunction(() => globalThis.e2e.frames > 10, null, { timeout: PATIENCE });
  say({ ready: true });
  await page.waitForFunction(() => globalThis.e2e.states.includes("waiting"), null, { timeout: PATIENCE });
  await page.waitForFunction((n) => globalThis.e2e.states.at(-1) === "playing" && globalThis.e2e.frames >= n, o.more, { timeout: PATIENCE });
  await page.screenshot({ path: o.shot });
  return { before, after: await page.evaluate(() => globalThis.hawser.stats()), ...(await page.evaluate(() => globalThis.e2e)), shot: o.shot };
}

/**
 * Looks at one presented frame after the other: where the mark of the picture is, and where the page has drawn its own, by the pixels of
 * both. Places are relative to the picture.
 */
async function marks(page, o) {
  await choose(page, o);
  await page.waitForTimeout(o.settle);
  const seen = await page.evaluate(async (frames) => {
    const video = document.querySelector("#video"), overlay = document.querySelector("#marks");
    const { videoWidth: w, videoHeight: h } = video;
    const grab = Object.assign(document.createElement("canvas"), { width: w, height: h }).getContext("2d", { willReadFrequently: true });
    /** The middle of the pixels that are wanted. */
    const middle = ({ data, width }, wanted) => {
      let n = 0, x = 0, y = 0;
      for (let i = 0; i < data.length; i += 4) {
        if (!wanted(data[i], data[i + 1], data[i + 2], data[i + 3])) continue;
        n++;
        x += (i / 4) % width + 0.5;
        y += Math.floor(i / 4 / width) + 0.5;
      }
      return n === 0 ? null : { n, x: x / n, y: y / n };
    };
    const list = [];
    for (let i = 0; i < frames; i++) {
      const frame = await new Promise((resolve) => video.requestVideoFrameCallback((_, f) => resolve(f)));
      // What the page does in its own callback for this frame is done; the picture is the one that the viewer sees now.
      grab.drawImage(video, 0, 0, w, h);
      const drawn = overlay.getContext("2d").getImageData(0, 0, overlay.width, overlay.height);
      const inPicture = middle(grab.getImageData(0, 0, w, h), (r, g, b) => r > 180 && b > 180 && g < 110);
      const onTop = middle(drawn, (r, g, b, a) => a > 20);
      const scale = Math.min(overlay.width / w, overlay.height / h);
      const left = (overlay.width - w * scale) / 2, top = (overlay.height - h * scale) / 2;
      list.push({
        mediaTime: frame.mediaTime,
        picture: inPicture && { x: inPicture.x / w, y: inPicture.y / h },
        drawn: onTop && { x: (onTop.x - left) / (w * scale), y: (onTop.y - top) / (h * scale) },
      });
    }
    return list;
  }, o.frames);
  const stats = await page.evaluate(() => globalThis.hawser.stats());
  await page.screenshot({ path: o.shot });
  return { seen, stats, shot: o.shot };
}

/** Follows the data of a path with the page's own client until a number of messages is there: {i: 0}, {i: 1} and so on. */
async function follow(page, o) {
  await page.evaluate(async ({ path }) => {
    const { Client } = await import("/js/index.js");
    const client = new Client();
    await client.connect();
    const got = (globalThis.e2e = { snapshots: 0, updates: 0, gaps: 0, disorder: 0, next: 0, offset: -1 });
    client.subscribe(path, (m) => {
      if (m.t === "snapshot") got.snapshots++;
      if (m.t === "gap") got.gaps++;
      if (m.t !== "update") return;
      if (m.data.i !== got.next || (got.offset >= 0 && m.offset !== got.offset + 1)) got.disorder++;
      got.next = m.data.i + 1;
      got.offset = m.offset;
      got.updates++;
    });
  }, o);
  await page.waitForFunction(() => globalThis.e2e.snapshots > 0, null, { timeout: PATIENCE });
  say({ ready: true });
  await page.waitForFunction((n) => globalThis.e2e.updates + globalThis.e2e.gaps >= n, o.messages, { timeout: PATIENCE });
  return page.evaluate(() => globalThis.e2e);
}

/** What a stranger sees of a server with rules, then after credentials that are not good, then after good ones; and when signed out again. */
async function login(page, o) {
  const card = page.locator("#signin");
  const sees = async (/** @type {string} */ name) => {
    await page.screenshot({ path: o.shot.replace(/\.png$/, `-${name}.png`) });
    return { title: await page.locator("#signin-title").innerText(), text: await page.locator("#signin-text").innerText(), light: await page.locator("#light").getAttribute("data-light") };
  };
  const give = async (user, secret) => {
    await page.fill("#login-user", user);
    await page.fill("#login-secret", secret);
    await Promise.all([page.waitForEvent("load"), page.locator("#login button").click()]);
  };
  await card.waitFor({ timeout: PATIENCE });
  const stranger = await sees("stranger");
  await give(o.user, "wrong");
  await card.waitFor({ timeout: PATIENCE });
  const wrong = await sees("wrong");
  await give(o.user, o.password);
  await page.locator("#live a").first().waitFor({ timeout: PATIENCE });
  const who = await page.locator("#who").innerText(), live = await page.locator("#live a .name").allInnerTexts(), asked = await card.isVisible();
  await page.screenshot({ path: o.shot });
  await Promise.all([page.waitForEvent("load"), page.locator("#sign-out").click()]);
  await card.waitFor({ timeout: PATIENCE });
  return { stranger, wrong, who, live, asked, out: await page.locator("#live a").count() };
}

/** Opens pages of paths, one after the other, publishes to each what it is told to, and says what is there: the words of the data's card, and how much wider than the window the page is. */
async function data(page, o) {
  const seen = {};
  for (const { path, post, body, until, shown } of o.pages) {
    await page.evaluate((to) => void (location.hash = to), path);
    const card = page.locator("section.data", { has: page.locator("#data-title") });
    await page.waitForFunction((p) => document.querySelector("#path").textContent === p, path, { timeout: PATIENCE });
    if (post) await page.evaluate(([to, what]) => fetch(to, { method: "POST", body: what }), [post, body]);
    await card.getByText(until).waitFor({ timeout: PATIENCE });
    if (shown) await page.locator(shown).waitFor({ timeout: PATIENCE });
    seen[path] = { text: await card.innerText(), wider: await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth) };
    await page.screenshot({ path: o.shot });
  }
  return { seen };
}

const o = JSON.parse(process.argv[2]);
const browser = await chromium.launch({ executablePath: o.browser, args: FLAGS, headless: true });
try {
  const page = await browser.newPage({ viewport: { width: o.width ?? 1280, height: o.height ?? 800 }, ignoreHTTPSErrors: true });
  const errors = [];
  page.on("pageerror", (e) => errors.push(String(e)));
  page.on("console", (m) => m.type() === "error" && !(o.gone && GONE.test(m.text())) && errors.push(m.text()));
  if (o.unreachable) await page.addInitScript(UNREACHABLE);
  await page.goto(o.url);
  if (o.choose) await choose(page, o);
  const answer = await { play, outage, marks, follow, offline, failover, plain, frozen, climbs, stays, tells, publishes, channels, login, data }[o.does](page, o, say).catch((e) => ({ failed: String(e.stack ?? e) }));
  if (answer.failed) answer.page = await page.evaluate(() => document.body.innerText).catch(() => "");
  say({ ...answer, errors });
} finally {
  await browser.close();
}
