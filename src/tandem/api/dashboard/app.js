// Keeps a page live. The server renders; this fetches the part that changes again whenever something happened, and
// changes only what differs, so that focus, scrolling and the QR on show are left in peace. Without it every page and
// every button works as well, with a reload.
"use strict";

const live = document.getElementById("live");
const EVERY = 5000; // ms between looks when nothing happens: pings change without an event
const WHILE_PAIRING = 1000; // ms: a new QR is no event
const AT_LEAST = 300; // ms between two looks, however much happens
const follows = live.dataset.source && !("still" in live.dataset);
let skew = live.dataset.now ? Number(live.dataset.now) - Date.now() : 0;

/* ---- time, in words ---- */

const now = () => Date.now() + skew;

function span(ms) {
  const s = Math.max(0, Math.floor(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} days`;
}

const until = (ms) => (ms < 60000 ? span(ms) : `${Math.floor(ms / 60000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, "0")} min`);
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });
const short = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });

function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

function tick() {
  for (const e of document.querySelectorAll("[data-since]")) write(e, `for ${span(now() - e.dataset.since)}`);
  for (const e of document.querySelectorAll("[data-at]")) {
    const at = Number(e.dataset.at);
    const age = now() - at;
    write(e, age >= 0 && age < 3600000 ? `${span(age)} ago` : short.format(at));
    if (e.title !== exact.format(at)) e.title = exact.format(at);
  }
  for (const e of document.querySelectorAll("[data-until]")) {
    const left = Math.max(0, e.dataset.until - now());
    if (e.localName === "progress") {
      if (left / 1000 > e.max) e.max = left / 1000;
      e.value = left / 1000;
    } else write(e, until(left));
  }
}

/* ---- changing only what differs ---- */

const OWN = new Set(["open", "title", "aria-invalid"]); // attributes that the reader or this script sets

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || keyOf(old) !== keyOf(fresh)) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
  } else {
    attributes(old, fresh);
    if (!fresh.hasAttribute("data-js") && !fresh.hasAttribute("data-filters")) children(old, fresh);
  }
}

const keyOf = (node) => (node.dataset ? node.dataset.key : undefined);

function attributes(old, fresh) {
  if (fresh.localName === "progress" && old.dataset.until && old.dataset.until === fresh.dataset.until) return;
  if (fresh.hasAttribute("data-wrong")) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name) && !OWN.has(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
}

function children(old, fresh) {
  const keyed = new Map();
  for (const child of old.children) if (keyOf(child)) keyed.set(keyOf(child), child);
  const wanted = new Set([...fresh.children].map(keyOf).filter(Boolean));
  let at = old.firstChild;
  for (const node of [...fresh.childNodes]) {
    while (at && keyOf(at) && !wanted.has(keyOf(at))) at = drop(at);
    const same = keyOf(node) ? keyed.get(keyOf(node)) : null;
    if (same) {
      if (same === at) at = at.nextSibling;
      else old.insertBefore(same, at);
      morph(same, node);
    } else if (at && !keyOf(node) && !keyOf(at)) {
      const next = at.nextSibling;
      morph(at, node);
      at = next;
    } else old.insertBefore(node, at);
  }
  while (at) at = drop(at);
}

function drop(node) {
  const next = node.nextSibling;
  node.remove();
  return next;
}

/* ---- looking again ---- */

let timer = 0;
let looking = false;
let hurrying = false;
let again = false;

async function look() {
  if (!follows) return;
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  again = hurrying = false;
  clearTimeout(timer);
  try {
    const response = await fetch(live.dataset.source, { headers: { Accept: "text/html" } });
    if (response.status === 401 || response.status === 404) return location.reload();
    if (response.ok) show(await response.text());
  } catch {
    linked("reconnecting");
  } finally {
    looking = false;
    const pairing = live.querySelector("[data-pairing]");
    timer = setTimeout(look, again ? AT_LEAST : pairing ? WHILE_PAIRING : EVERY);
  }
}

function show(text) {
  const fresh = new DOMParser().parseFromString(text, "text/html").getElementById("live");
  if (!fresh) return;
  skew = Number(fresh.dataset.now) - Date.now();
  morph(live, fresh);
  for (const field of document.querySelectorAll(".top input[name=csrf]")) {
    const newest = live.querySelector("input[name=csrf]");
    if (newest) field.value = newest.value;
  }
  tick();
}

function soon() {
  if (hurrying || looking) {
    again = true;
    return;
  }
  hurrying = true; // however much happens after this, the look is not put off again
  clearTimeout(timer);
  timer = setTimeout(look, AT_LEAST);
}

function linked(state) {
  const mark = document.getElementById("link");
  mark.dataset.state = state;
  write(mark.querySelector("span"), state);
}

function follow() {
  const about = live.dataset.about;
  const source = new EventSource(about ? `/api/events/stream?account=${about}` : "/api/events/stream");
  source.onopen = () => {
    linked("live");
    look();
  };
  source.onmessage = soon;
  source.addEventListener("lag", soon);
  source.onerror = () => {
    linked("reconnecting");
    if (source.readyState === EventSource.CLOSED) setTimeout(follow, 3000);
  };
  addEventListener("pagehide", () => source.close());
}

/* ---- acting ---- */

let hiding = 0;

function notice(text) {
  const box = document.getElementById("notice");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (box.hidden = true), 6000);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

async function post(form) {
  let response;
  try {
    const body = new URLSearchParams(new FormData(form));
    response = await fetch(form.action, { method: "POST", body, headers: { Accept: "application/json" } });
  } catch {
    throw new Error("Tandem does not answer; is it running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(sentence(answer.detail || response.statusText));
  return answer;
}

function wrong(form, text) {
  const place = form.querySelector("[data-wrong]");
  if (!place) return notice(text);
  place.textContent = text;
  place.hidden = !text;
}

document.addEventListener("submit", async (event) => {
  const form = event.target.closest("form[data-act]");
  if (!form) return;
  event.preventDefault();
  const button = form.querySelector("button");
  if (button.disabled) return;
  button.disabled = true;
  try {
    const { words, where } = await post(form);
    if (where && where !== location.pathname) return location.assign(where);
    notice(words);
    await look();
  } catch (error) {
    wrong(form, error.message);
  } finally {
    button.disabled = false;
  }
});

/* ---- small comforts ---- */

document.addEventListener("toggle", (event) => {
  if (event.target.open) event.target.querySelector("input:not([type=hidden])")?.focus();
}, true);

document.addEventListener("keydown", (event) => {
  const add = document.getElementById("add");
  if (event.key === "Escape" && add?.open) {
    add.open = false;
    add.querySelector("summary").focus();
  }
});

document.addEventListener("change", (event) => event.target.closest("form[data-filters]")?.requestSubmit());

const theme = document.getElementById("theme");
theme.hidden = false;
theme.addEventListener("click", () => {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  document.cookie = `tandem_theme=${root.dataset.theme}; path=/; max-age=31536000; samesite=strict`;
});

/* ---- start ---- */

tick();
setInterval(tick, 500);
timer = setTimeout(look, EVERY);
document.addEventListener("visibilitychange", () => document.hidden || look());
follow();
