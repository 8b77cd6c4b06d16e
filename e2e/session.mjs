// What browser.mjs does to the page of a session: its network goes and comes back, its server is killed, only plain HTTP gets through, it is frozen.

const PATIENCE = 60_000; // ms until what is waited for is there

/** Waits in the page until something is true. */
const until = (page, f, argument) => page.waitForFunction(f, argument, { timeout: PATIENCE, polling: 20 });

const loggedIn = (page) => until(page, () => globalThis.client.state === "logged_in");

/** What the light on the page says. */
const light = (page) =>
  page.locator("#light").evaluate((e) => `${e.dataset.light}, ${e.shadowRoot.querySelector(".word").textContent}, ${e.getAttribute("aria-label")}`);

/** A client in the page, with its light, that follows a log; what happens is kept in globalThis.seen. */
async function open(page, o) {
  await page.evaluate(async ({ modules, servers, options, path }) => {
    const { Client } = await import(`${modules}/index.js`);
    await import(`${modules}/light.js`);
    const client = (globalThis.client = new Client({ name: "e2e", servers, ...options }));
    const seen = (globalThis.seen = { states: [], lights: [], transports: [], got: [], gaps: 0, next: 0, ticks: 0 });
    client.observe((e) => {
      seen.states.push(e.state);
      seen.lights.push(e.light);
    });
    client.onevent = (e) => e.kind === "transport" && seen.transports.push(`${e.from} to ${e.transport}`);
    document.querySelector("#light").client = client;
    client.connect();
    client.subscribe(path, (m) => {
      if (m.t === "update") seen.got.push(m.data);
      if (m.t === "gap") seen.gaps++;
    });
    seen.publish = () => client.publish(path, seen.next++);
    setInterval(() => seen.ticks++, 100);
  }, o);
  await loggedIn(page);
}

/** Everything that was published has come, once and in order. */
const whole = (page) => until(page, () => globalThis.seen.got.length >= globalThis.seen.next);

/** What was seen, with the light at the end. */
async function answer(page, o, more = {}) {
  await page.screenshot({ path: o.shot });
  const box = await page.locator("#light").boundingBox();
  const seen = await page.evaluate(() => {
    const { states, lights, transports, got, gaps, next } = globalThis.seen;
    const { server, transport, state } = globalThis.client;
    return { states, lights, transports, got, gaps, next, server, transport, state };
  });
  return { ...seen, ...more, light: await light(page), box, shot: o.shot };
}

/** The browser's own switch. */
export async function offline(page, o) {
  await open(page, o);
  await page.evaluate(() => globalThis.seen.publish());
  await whole(page);
  const green = await light(page);
  await page.context().setOffline(true);
  await until(page, () => globalThis.client.state === "unreachable");
  const amber = await light(page);
  await page.screenshot({ path: o.shot.replace(".png", "-offline.png") });
  // Published while there is no network: settled by the server, later.
  await page.evaluate(() => void (globalThis.late = globalThis.seen.publish().then((ack) => ack.offset)));
  await page.context().setOffline(false);
  await loggedIn(page);
  const offset = await page.evaluate(() => globalThis.late);
  await whole(page);
  return answer(page, o, { green, amber, offset });
}

/** The test kills the first server once this is ready. */
export async function failover(page, o, say) {
  await open(page, o);
  await page.evaluate(() => globalThis.seen.publish());
  await whole(page);
  say({ ready: true });
  await until(page, (first) => globalThis.client.server !== first && globalThis.client.state === "logged_in", o.servers[0]);
  await page.evaluate(() => globalThis.seen.publish());
  await whole(page);
  return answer(page, o);
}

/** Something in between lets plain HTTP through only, until it is told to let everything through. */
export async function plain(page, o) {
  await open(page, o);
  const first = await page.evaluate(() => globalThis.client.transport);
  await page.evaluate(() => void (globalThis.stop = setInterval(() => globalThis.seen.publish(), 5)));
  await until(page, () => globalThis.seen.got.length > 50);
  // Another client of this page knows what worked.
  const again = await page.evaluate(async ({ modules, servers }) => {
    const { Client } = await import(`${modules}/index.js`);
    const other = new Client({ servers });
    const began = performance.now();
    await other.connect();
    const took = performance.now() - began, { transport } = other;
    other.disconnect();
    return { transport, took };
  }, o);
  await page.evaluate((url) => fetch(url), o.letThrough);
  await until(page, () => globalThis.client.transport === "websocket");
  const n = await page.evaluate(() => globalThis.seen.got.length);
  await until(page, (n) => globalThis.seen.got.length > n + 50, n);
  await page.evaluate(() => clearInterval(globalThis.stop));
  await whole(page);
  return answer(page, o, { first, again });
}

/** The page sleeps, as on a laptop whose lid is closed, while the test publishes. A browser without a screen does not freeze pages itself, so their processes are stopped. */
export async function frozen(page, o, say) {
  await open(page, o);
  const cdp = await page.context().browser().newBrowserCDPSession();
  const sleep = async (ms) => {
    const { processInfo } = await cdp.send("SystemInfo.getProcessInfo");
    const renderers = processInfo.filter((p) => p.type === "renderer").map((p) => p.id);
    await page.evaluate(() => (globalThis.seen.ticks = 0));
    for (const id of renderers) process.kill(id, "SIGSTOP");
    say({ frozen: ms });
    await new Promise((resolve) => setTimeout(resolve, ms));
    for (const id of renderers) process.kill(id, "SIGCONT");
    return page.evaluate(() => globalThis.seen.ticks);
  };
  const ticks = [await sleep(o.nap)];
  await until(page, (n) => globalThis.seen.got.length >= n, o.messages);
  const nap = await page.evaluate(() => globalThis.seen.states.length);
  ticks.push(await sleep(o.sleep));
  await until(page, (n) => globalThis.seen.got.length >= n, 2 * o.messages);
  await loggedIn(page);
  return answer(page, o, { ticks, nap });
}
