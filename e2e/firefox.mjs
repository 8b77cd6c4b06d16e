// Drives a stock Firefox by WebDriver BiDi (https://www.w3.org/TR/webdriver-bidi/), as much of it as the tests need. Node 20 has a WebSocket under the flag --experimental-websocket.
import { spawn } from "node:child_process";
import { mkdtemp, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { createInterface } from "node:readline";

/** Settings of the profile: the page may play, and nothing is asked of any network but what the page asks. */
const PREFERENCES = {
  "media.autoplay.default": 0,
  "media.navigator.permission.disabled": true,
  "media.navigator.streams.fake": true,
  "media.peerconnection.ice.obfuscate_host_addresses": false,
  "media.gmp-manager.updateEnabled": false,
  "media.gmp-manager.url": "",
  "app.update.disabledForTesting": true,
  "app.normandy.enabled": false,
  "browser.safebrowsing.update.enabled": false,
  "browser.shell.checkDefaultBrowser": false,
  "browser.startup.homepage_override.mstone": "ignore",
  "datareporting.policy.dataSubmissionEnabled": false,
  "toolkit.telemetry.reportingpolicy.firstRun": false,
  "extensions.systemAddon.update.enabled": false,
  "network.captive-portal-service.enabled": false,
  "network.connectivity-service.enabled": false,
  "network.dns.disablePrefetch": true,
  "services.settings.server": "data:,#remote-settings-dummy/v1",
};

/** Starts it in a new profile and waits for the address that it prints. */
async function launch(o) {
  const profile = await mkdtemp(join(o.scratch, "firefox-"));
  await writeFile(join(profile, "user.js"), Object.entries(PREFERENCES).map(([k, v]) => `user_pref(${JSON.stringify(k)}, ${JSON.stringify(v)});\n`).join(""));
  const env = { ...process.env, HOME: profile, MOZ_CRASHREPORTER_DISABLE: "1" };
  const child = spawn(o.browser, ["--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0", "about:blank"], { stdio: ["ignore", "ignore", "pipe"], env });
  for await (const line of createInterface(child.stderr)) {
    const address = line.match(/WebDriver BiDi listening on (ws:\S+)/)?.[1];
    if (address) {
      child.stderr.resume(); // what else it has to say
      return { child, address };
    }
  }
  throw new Error("Firefox ended before it said where it listens");
}

/** The two ends of the protocol: call sends a command and waits for its result; events go to heard. */
async function connect(address, heard) {
  const socket = new WebSocket(`${address}/session`);
  const waiting = new Map();
  let last = 0;
  socket.onmessage = ({ data }) => {
    const m = JSON.parse(data);
    if (m.id === undefined) return heard(m);
    const { resolve, reject } = waiting.get(m.id);
    waiting.delete(m.id);
    if (m.type === "success") resolve(m.result);
    else reject(new Error(`${m.error}: ${m.message}`));
  };
  socket.onclose = () => waiting.forEach(({ reject }) => reject(new Error("Firefox is gone")));
  await new Promise((resolve, reject) => Object.assign(socket, { onopen: resolve, onerror: reject }));
  return (method, params = {}) =>
    new Promise((resolve, reject) => {
      waiting.set(++last, { resolve, reject });
      socket.send(JSON.stringify({ id: last, method, params }));
    });
}

/** A Firefox with one page, as rtc.mjs wants it. */
export async function firefox(o, url, complain) {
  const { child, address } = await launch(o);
  const call = await connect(address, (m) => m.method === "log.entryAdded" && m.params.level === "error" && complain(m.params.text));
  await call("session.new", { capabilities: {} });
  await call("session.subscribe", { events: ["log.entryAdded"] });
  const { contexts } = await call("browsingContext.getTree");
  const { context } = contexts[0];
  return {
    load: () => call("browsingContext.navigate", { context, url, wait: "complete" }),
    async evaluate(expression) {
      const r = await call("script.evaluate", { expression, awaitPromise: true, target: { context }, userActivation: true });
      if (r.type === "exception") throw new Error(r.exceptionDetails.text);
      return r.result.value;
    },
    async screenshot(path) {
      const { data } = await call("browsingContext.captureScreenshot", { context });
      await writeFile(path, Buffer.from(data, "base64"));
    },
    async close() {
      child.kill("SIGKILL");
      await new Promise((resolve) => child.on("exit", resolve));
    },
  };
}
