import { test } from "node:test";
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { REASONS, reason, reasonByCode, reasonFromWire } from "../reasons.js";
import { INITIAL, STATES, light, may } from "../states.js";

const json = (path) => JSON.parse(readFileSync(new URL(path, import.meta.url), "utf8"));

test("reasons are those of lifecycle/reasons.json", () => {
  assert.deepEqual([...REASONS], json("../../lifecycle/reasons.json"));
});

test("a reason is found by word and by code", () => {
  assert.deepEqual(reason("slow", "fell behind"), { code: 4002, word: "slow", text: "fell behind", retry: true });
  assert.deepEqual(reasonByCode(4002), reason("slow"));
  assert.equal(reasonByCode(1006), undefined);
  assert.throws(() => reason("sleepy"), /no reason "sleepy"/);
  assert.deepEqual(reasonFromWire({ code: 4012, word: "ejected" }), { code: 4012, word: "ejected", text: "", retry: false });
  assert.equal(reasonFromWire(undefined), undefined);
});

test("states are those of session/states.json", () => {
  const { initial, states } = json("../../session/states.json");
  assert.equal(INITIAL, initial);
  assert.deepEqual([...STATES], states.map(({ while: _, ...row }) => row));
});

test("only logged_in is green and only disconnected is red", () => {
  assert.deepEqual(STATES.filter((s) => light(s.word) === "green").map((s) => s.word), ["logged_in"]);
  assert.deepEqual(STATES.filter((s) => light(s.word) === "red").map((s) => s.word), ["disconnected"]);
  assert.ok(may("connected", "logged_in") && !may("disconnected", "logged_in") && !may("nowhere", "connecting"));
});
