// What browser.mjs does to pages whose pictures come over WebRTC: the ladder of the player in the console, a publisher, and a session over a data channel.

const PATIENCE = 60_000; // ms until what is waited for is there

/** Before a page is loaded: no candidate of either side names a port at which somebody answers, as where UDP and all else but the web's ports are blocked. */
export const UNREACHABLE = () => {
  const P = RTCPeerConnection.prototype, nowhere = (text) => text.replace(/(candidate:\S+ \d+ \S+ \d+ \S+) \d+/g, "$1 65001");
  const { setRemoteDescription, addIceCandidate } = P;
  P.setRemoteDescription = function (d) {
    return setRemoteDescription.call(this, { type: d.type, sdp: nowhere(d.sdp) });
  };
  P.addIceCandidate = function (c) {
    return addIceCandidate.call(this, c && { ...c, candidate: nowhere(c.candidate) });
  };
  Object.defineProperty(P, "onicecandidate", { set() {} }); // the server is not to come to this browser either
};

/** Where the mark of the sample clip is in presented frames, relative to the picture, with the frame's media time as the player has it and the data that came with it last. */
const look = (page, frames) =>
  page.evaluate(async (frames) => {
    const video = document.querySelector("#video"), { videoWidth: w, videoHeight: h } = video;
    const grab = Object.assign(document.createElement("canvas"), { width: w, height: h }).getContext("2d", { willReadFrequently: true });
    const seen = [];
    for (let i = 0; i < frames; i++) {
      await new Promise((resolve) => video.requestVideoFrameCallback(resolve));
      grab.drawImage(video, 0, 0, w, h);
      const { mediaTime } = (globalThis.e2e?.player ?? globalThis.hawser.player).stats(), told = globalThis.e2e?.data, { data } = grab.getImageData(0, 0, w, h);
      let n = 0, x = 0, y = 0;
      for (let p = 0; p < data.length; p += 4) {
        if (!(data[p] > 180 && data[p + 2] > 180 && data[p + 1] < 110)) continue;
        n++;
        x += (p / 4) % w + 0.5;
        y += Math.floor(p / 4 / w) + 0.5;
      }
      if (n > 0) seen.push({ x: x / n / w, y: y / n / h, mediaTime, ...(told ? { told: { x: told.x, y: told.y } } : {}) });
    }
    return seen;
  }, frames);

/** What the page says of the player, and what was seen of its transports. */
const report = async (page, o, more) => {
  await page.screenshot({ path: o.shot, fullPage: true });
  const video = await page.locator("#video").boundingBox();
  const seen = await page.evaluate(() => ({
    stats: globalThis.hawser.stats(),
    switches: globalThis.hawser.client.log.filter((e) => e.kind === "switch").map((e) => `${e.from} to ${e.transport}: ${e.detail}`),
    against: globalThis.hawser.client.log.filter((e) => e.kind === "ladder").map((e) => e.detail),
    numbers: Object.fromEntries([...document.querySelectorAll("#numbers > div")].map((d) => [d.firstElementChild.textContent, d.lastElementChild.textContent])),
    ends: [...document.querySelectorAll("#ends-rows tr")].map((r) => [...r.children].map((c) => c.textContent.trim())),
  }));
  return { ...seen, ...more, video, shot: o.shot };
};

/** Plays over the session until WebRTC has taken over, and then for a while: the marks in the pictures of both. */
export async function climbs(page, o) {
  const before = await look(page, o.frames);
  await page.waitForFunction(() => globalThis.hawser.player.transport === "webrtc", null, { timeout: PATIENCE });
  await page.waitForTimeout(1000);
  const after = await look(page, o.frames);
  await page.waitForTimeout(o.ms);
  return report(page, o, { before, after });
}

/** Another player in the place of the page's own, which does without the sound that WebRTC does not carry: the data that comes with its frames, and what is in them. */
export async function tells(page, o) {
  await page.evaluate(async ({ path }) => {
    const { Player } = await import("/js/index.js");
    const { client, player: own } = globalThis.hawser;
    own.close();
    const player = new Player(client, path, document.querySelector("#video"), { incomplete: true });
    const e2e = (globalThis.e2e = { player, data: null, updates: 0, alone: 0, late: 0, disorder: 0, next: -1 });
    player.ondata = (m, frame) => {
      if (m.t !== "update") return;
      if (e2e.next >= 0 && m.offset !== e2e.next) e2e.disorder++;
      e2e.next = m.offset + 1;
      e2e.updates++;
      if (!frame) return void e2e.alone++;
      if (frame.late) e2e.late++;
      e2e.data = m.data;
    };
    player.start();
  }, o);
  const until = (transport) => page.waitForFunction((t) => globalThis.e2e.player.transport === t, transport, { timeout: PATIENCE });
  await until("webrtc");
  await page.waitForTimeout(1000);
  await page.evaluate(() => Object.assign(globalThis.e2e, { updates: 0, alone: 0, late: 0 }));
  const seen = await look(page, o.frames);
  const { updates, alone, late, disorder } = await page.evaluate(() => globalThis.e2e);
  await page.screenshot({ path: o.shot });
  return { seen, updates, alone, late, disorder, detail: await page.evaluate(() => globalThis.e2e.player.detail) };
}

/** Plays for a while. */
export async function stays(page, o) {
  const before = await page.evaluate(() => globalThis.hawser.stats().framesPresented);
  await page.waitForTimeout(o.ms);
  return report(page, o, { before });
}

/** Publishes the browser's camera and microphone through the page's own session until the test has seen it. */
export async function publishes(page, o, say) {
  await page.evaluate(async ({ path }) => {
    const { Publisher } = await import("/js/index.js");
    const publisher = new Publisher(globalThis.hawser.client, path, { maxBitrate: 800_000 });
    const states = [publisher.state];
    publisher.onstate = (state) => states.push(state);
    globalThis.e2e = { publisher, states };
    await publisher.start({ video: { width: 640, height: 360 }, audio: true });
  }, o);
  const publishing = () => page.waitForFunction(() => globalThis.e2e.publisher.state === "publishing", null, { timeout: PATIENCE });
  await publishing();
  say({ ready: true });
  await page.waitForTimeout(o.ms);
  const stats = await page.evaluate(() => globalThis.e2e.publisher.stats());
  await page.evaluate(() => globalThis.e2e.publisher.stop());
  return { stats, states: await page.evaluate(() => globalThis.e2e.states) };
}

/** A session over a data channel: texts both ways, small and large, and media. */
export async function channels(page, o) {
  return page.evaluate(async ({ path, ms }) => {
    const { Client } = await import("/js/index.js");
    const client = new Client({ transports: ["webrtc"] });
    await client.connect();
    const got = [], large = "€".repeat(60_000);
    client.subscribe("/e2e/channel", (m) => m.t === "update" && got.push(m.data.length));
    for (const text of ["small", large, "last"]) await client.publish("/e2e/channel", text);
    let fragments = 0, bytes = 0;
    client.play(path, (m) => {
      if (m.t !== "fragment") return;
      fragments++;
      bytes = Math.max(bytes, m.data.length);
    });
    await new Promise((resolve) => setTimeout(resolve, ms));
    const { transport, state, rtt } = client;
    client.disconnect();
    return { transport, state, rtt, got, fragments, bytes };
  }, o);
}
