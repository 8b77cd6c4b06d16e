// A browser as the client, for the tests: `node browser.mjs {"browser": …, "url": …}`. Its page comes from the server under test. The last line that it says is JSON.
import { chromium } from "playwright-core";

const o = JSON.parse(process.argv[2]);
const browser = await chromium.launch({ executablePath: o.browser, args: ["--no-sandbox", "--disable-background-networking", "--no-first-run", "--ignore-certificate-errors"], headless: true });
try {
  const page = await browser.newPage();
  await page.goto(o.url.replace(/^ws/, "http"));
  const answer = await page.evaluate(async ({ url, sizes }) => {
    const connect = async (path) => {
      const ws = new WebSocket(url + path, ["other", "interop"]);
      ws.binaryType = "arraybuffer";
      const queue = [], waiting = [];
      const put = (v) => (waiting.length > 0 ? waiting.shift()(v) : queue.push(v));
      const next = () => (queue.length > 0 ? Promise.resolve(queue.shift()) : new Promise((r) => waiting.push(r)));
      ws.onmessage = (e) => put({ data: e.data });
      ws.onclose = (e) => put({ code: e.code, reason: e.reason, clean: e.wasClean });
      await new Promise((resolve) => ((ws.onopen = resolve), (ws.onerror = resolve)));
      return { ws, next };
    };
    const c = await connect("/echo"), wrong = [];
    for (const n of sizes) {
      const text = "日".repeat(n / 3) + "x".repeat(n % 3);
      c.ws.send(text);
      if ((await c.next()).data !== text) wrong.push(`text of ${n}`);
      const binary = new Uint8Array(n).map((_, i) => (i % 2) * 0xfe);
      c.ws.send(binary);
      const back = new Uint8Array((await c.next()).data ?? 0);
      if (back.length !== n || back.some((v, i) => v !== binary[i])) wrong.push(`binary of ${n}`);
    }
    const ask = async (/** @type {string} */ text) => (c.ws.send(text), (await c.next()).data);
    const pinged = await ask("ping me"), joined = await ask("fragments");
    c.ws.close(4001, "bye ü");
    const closed = await c.next();
    const other = await (await connect("/close")).next();
    const silent = await (await connect("/nostatus")).next();
    const quiet = await connect("/echo");
    quiet.ws.close();
    await quiet.next();
    // A page can send neither fragments nor pings.
    return { protocol: c.ws.protocol, extensions: c.ws.extensions, wrong, fragments: "in fragments", pong: "to hawser", pinged, joined, closed, other, silent };
  }, o);
  console.log(JSON.stringify(answer));
} finally {
  await browser.close();
}
