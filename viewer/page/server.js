"use strict";

// What the page asks of its server. Every sentence that it shows of a failure is the server's own.

const token = new URLSearchParams(location.search).get("token") ?? "";
// Of those who ask under one name, the newest wish counts.
const newName = () => Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, "0")).join("");
const client = newName();
const NEWER = 204; // there is a newer request
const LOST = "The viewer does not answer: is it still running?";

class Problem extends Error {}

async function ask(path, body = undefined, headers = {}) {
  const request = { headers: { Authorization: `Bearer ${token}`, ...headers } };
  if (body !== undefined) {
    request.method = "POST";
    request.body = body instanceof Blob || typeof body === "string" ? body : JSON.stringify(body);
  }
  let response;
  try {
    response = await fetch(path, request);
  } catch {
    throw new Problem(LOST);
  }
  if (response.ok && response.status !== NEWER) return response;
  const text = await response.text();
  let sentence = text.trim();
  try {
    sentence = JSON.parse(text).error;
  } catch {
    // It is a sentence already.
  }
  const problem = new Problem(sentence || `The viewer answered ${response.status}.`);
  problem.status = response.status;
  throw problem;
}

const element = (id) => document.getElementById(id);

// --- The line at the top: what is wrong, else what is going on -------------------------------------------------------

const sentences = new Map(); // by source: { text, bad }

function say(source, text, bad = false) {
  if (text) sentences.set(source, { text, bad });
  else sentences.delete(source);
  const said = [sentences.get("server"), ...sentences.values()].filter(Boolean); // without a server all else is old
  const shown = said.find((one) => one.bad) ?? said[0] ?? { text: "Ready.", bad: false };
  const status = element("status");
  if (status.textContent !== shown.text) status.textContent = shown.text;
  status.classList.toggle("bad", shown.bad);
}

async function guarded(source, work) {
  try {
    const result = await work();
    say(source, "");
    return result;
  } catch (problem) {
    if (!(problem instanceof Problem)) throw problem;
    say(source, problem.message, true);
    return undefined;
  }
}
