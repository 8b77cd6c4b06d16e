import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync, readdirSync } from "node:fs";
import { Machine } from "../machine.js";
import { reason } from "../reasons.js";
import { may } from "../states.js";

const dir = new URL("../../session/testdata/", import.meta.url);
const IN = new Set(["call", "net", "<", "<!", "<#", "<2"]);
const TOLD = new Set(["state", "event"]);
const SENT = new Set([">", ">2", "close"]);

/** The input lines, each with the lines that the client puts out after it. */
function read(name) {
  const steps = [];
  let who = "", options = {};
  for (const line of readFileSync(new URL(name, dir), "utf8").split("\n")) {
    if (line === "" || line[0] === "#") continue;
    const [word, rest] = split(line);
    if (word === "for") who = rest;
    else if (word === "option") options = { ...options, ...JSON.parse(rest) };
    else if (IN.has(word)) steps.push({ line, word, rest, told: [], sent: [] });
    else if (TOLD.has(word)) steps.at(-1)?.told.push(line);
    else if (SENT.has(word)) steps.at(-1)?.sent.push(line);
  }
  return { who, options, steps };
}

function split(line) {
  const i = line.indexOf(" ");
  return i < 0 ? [line, ""] : [line.slice(0, i), line.slice(i + 1)];
}

/** Feeds the machine, and returns what is sent on a second connection. */
function feed(m, { word, rest }) {
  const [name, argument] = split(rest);
  if (word === "net" && name === "switch") return [m.switch()];
  if (word === "<2") second(m, rest);
  else if (word === "call") call(m, name, argument ? JSON.parse(argument) : {});
  else if (word === "net") net(m, name, argument);
  else if (word === "<#") m.receive(Uint8Array.from(rest.replaceAll(" ", "").match(/../g), (h) => parseInt(h, 16)));
  else m.receive(rest);
  return [];
}

function second(m, message) {
  try {
    m.switched(message);
  } catch {
    m.switchFailed();
  }
}

function call(m, name, a) {
  const calls = {
    connect: () => m.connect(),
    disconnect: () => m.disconnect(),
    ping: () => m.ping(),
    subscribe: () => m.subscribe(a.path, a),
    unsubscribe: () => m.unsubscribe(a.path),
    publish: () => m.publish(a.path, a),
    play: () => m.play(a.path, a.resume),
    stop: () => m.stop(a.path),
    throttle: () => m.throttle(a.path, a.rate),
    call: () => m.call(a.name, a.data, a),
    cancel: () => m.cancel(a.id),
    renew: () => m.renew(a.token),
    credentials: () => m.credentials(a.token),
    credentials_failed: () => m.credentialsFailed(a.reason),
    pause: () => m.pause(),
    resume: () => m.resume(),
    signal: () => m.signal(a.path, a.data),
    source: () => (a.on ? m.source(a.path, a) : m.sourceEnded(a.path)),
  };
  calls[name]();
}

function net(m, name, argument) {
  const happens = {
    open: () => m.opened(),
    failed: () => m.broken(),
    lost: () => m.broken(),
    timeout: () => m.giveUp(reason("timeout")),
    close: () => m.closed(Number(argument)),
    retry: () => m.retry(),
    unreachable: () => m.unreachable(),
    switch_failed: () => m.switchFailed(),
  };
  happens[name]();
}

/** An output of the machine as [order, word, value], with the texts that the client makes left out. */
function output(o) {
  if (o.do === "send") return ["sent", ">", JSON.parse(o.text)];
  if (o.do === "close") return ["sent", "close", o.reason.word];
  if (o.do === "state") return ["told", "state", o.reason ? `${o.to} ${o.reason.word}` : o.to];
  if (o.do === "event") {
    const { t, ...fields } = o.event;
    return ["told", "event " + t, plain(fields)];
  }
  const { init, key, discontinuity, data, ...rest } = o.media;
  const flags = (init ? 1 : 0) | (key ? 2 : 0) | (discontinuity ? 4 : 0);
  return ["told", "event fragment", { ...rest, flags, payload: Buffer.from(data).toString("hex") }];
}

function expected(line) {
  const [word, rest] = split(line);
  if (word === "event") {
    const [name, json] = split(rest);
    return ["event " + name, plain(JSON.parse(json))];
  }
  return [word, word[0] === ">" ? JSON.parse(rest) : rest];
}

function plain(fields) {
  if (fields.reason?.word === "lost") fields = { ...fields, reason: { ...fields.reason, text: "" } };
  return fields;
}

for (const name of readdirSync(dir).filter((n) => n.endsWith(".transcript"))) {
  const { who, options, steps } = read(name);
  if (who === "server") continue;
  test(name, () => {
    const m = new Machine({ client: "", ...options });
    for (const step of steps) {
      const second = feed(m, step).map((text) => ["sent", ">2", JSON.parse(text)]);
      const got = m.out.splice(0);
      for (const o of got) if (o.do === "state") assert.ok(may(o.from, o.to), `${o.from} to ${o.to}`);
      for (const order of ["told", "sent"]) {
        const mine = [...got.map(output), ...second].filter((o) => o[0] === order).map((o) => o.slice(1));
        assert.deepEqual(mine, step[order].map(expected), `${name}: after ${step.line}`);
      }
    }
  });
}

test("there are transcripts", () => {
  assert.ok(readdirSync(dir).filter((n) => n.endsWith(".transcript") && read(n).who !== "server").length >= 8);
});
