// Keeps the page live. The server renders; this fetches the rendered part again whenever something happened, and
// changes only what differs, so that focus, scrolling and the QR on show are left in peace.
"use strict";

const csrf = document.querySelector("meta[name=csrf]").content;
const live = document.getElementById("live");
const EVERY = 5000; // ms between looks when nothing happens: pings change without an event
const WHILE_PAIRING = 1000; // ms: a new QR is no event
const AT_LEAST = 300; // ms between two looks, however much happens
let skew = Number(live.dataset.now) - Date.now();

/* ---- time, in words ---- */

const now = () => Date.now() + skew;

function span(ms) {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h`;
  return `${Math.floor(s / 86400)} days`;
}

const until = (ms) => (ms < 60000 ? span(ms) : `${Math.floor(ms / 60000)}:${String(Math.floor(ms / 1000) % 60).padStart(2, "0")} min`);

function tick() {
  for (const e of document.querySelectorAll("[data-since]")) e.textContent = `for ${span(now() - e.dataset.since)}`;
  for (const e of document.querySelectorAll("[data-at]")) {
    const age = now() - e.dataset.at;
    e.textContent = age < 3600000 ? `${span(age)} ago` : new Date(Number(e.dataset.at)).toLocaleString();
  }
  for (const e of document.querySelectorAll("[data-until]")) {
    const left = Math.max(0, e.dataset.until - now());
    if (e.localName === "progress") {
      if (left / 1000 > e.max) e.max = left / 1000;
      e.value = left / 1000;
    } else e.textContent = until(left);
  }
}

/* ---- changing only what differs ---- */

function morph(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeType !== fresh.nodeType || old.nodeName !== fresh.nodeName || keyOf(old) !== keyOf(fresh)) {
    old.replaceWith(fresh);
  } else if (old.nodeType !== Node.ELEMENT_NODE) {
    old.data = fresh.data;
  } else {
    attributes(old, fresh);
    if (!fresh.hasAttribute("data-js")) children(old, fresh);
  }
}

const keyOf = (node) => (node.dataset ? node.dataset.key : undefined);

function attributes(old, fresh) {
  if (fresh.localName === "progress" && old.dataset.until === fresh.dataset.until) return;
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
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
  if (looking) {
    again = true;
    return;
  }
  looking = true;
  again = hurrying = false;
  clearTimeout(timer);
  try {
    const response = await fetch("/dashboard/live", { headers: { Accept: "text/html" } });
    if (response.status === 401) return location.reload();
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
  skew = Number(fresh.dataset.now) - Date.now();
  morph(live, fresh);
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
  mark.querySelector("span").textContent = state;
}

function follow() {
  const source = new EventSource("/api/events/stream");
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
}

/* ---- acting ---- */

async function call(method, path, body) {
  const headers = { "X-CSRF-Token": csrf, Accept: "application/json" };
  if (body) headers["Content-Type"] = "application/json";
  let response;
  try {
    response = await fetch(`/api/whatsapp/${path}`, { method, headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Error("Tandem does not answer; is it running?");
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(sentence(answer.detail || response.statusText));
  look();
  return answer;
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

let hiding = 0;

function notice(text) {
  const box = document.getElementById("notice");
  box.textContent = text;
  box.hidden = false;
  clearTimeout(hiding);
  hiding = setTimeout(() => (box.hidden = true), 6000);
}

const ACTIONS = {
  add: () => openAdd(),
  pair: (button, account) =>
    call("POST", `account/${account}/pair`, { slot: button.dataset.slot, method: button.dataset.method || "qr" }),
  restart: (button, account) => call("POST", `account/${account}/restart`, { slot: button.dataset.slot }),
  switch: async (button, account) => {
    const { account: view } = await call("POST", `account/${account}/switch`);
    const active = view.slots.find((slot) => slot.role === "active");
    notice(`${view.name}: the ${active ? active.slot : "other"} device sends now.`);
  },
  remove: (button, account) => {
    const dialog = document.getElementById("remove-dialog");
    dialog.querySelector("[data-name]").textContent = button.dataset.name;
    dialog.dataset.account = account;
    document.getElementById("remove-wrong").hidden = true;
    dialog.showModal();
  },
};

function openAdd() {
  document.getElementById("add-form").reset();
  document.getElementById("add-wrong").hidden = true;
  document.getElementById("add-dialog").showModal();
  document.getElementById("add-phone").focus();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.id === "add-open") return openAdd();
  if (button.hasAttribute("data-close")) return button.closest("dialog").close();
  const action = ACTIONS[button.dataset.action];
  if (!action) return;
  button.disabled = true;
  try {
    await action(button, button.closest("[data-account]")?.dataset.account);
  } catch (error) {
    notice(error.message);
  } finally {
    button.disabled = false;
  }
});

function submits(formId, wrongId, act) {
  const form = document.getElementById(formId);
  if (!form) return;
  const wrong = document.getElementById(wrongId);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const submit = form.querySelector("button:not([type=button])");
    submit.disabled = true;
    try {
      await act(form);
      form.closest("dialog").close();
    } catch (error) {
      wrong.textContent = error.message;
      wrong.hidden = false;
    } finally {
      submit.disabled = false;
    }
  });
}

submits("add-form", "add-wrong", async (form) => {
  const { name, phone } = Object.fromEntries(new FormData(form));
  const { account, idempotent } = await call("POST", "add-account", { name, phone });
  if (idempotent) notice(`That number is here already: ${account.name}.`);
});

submits("remove-form", "remove-wrong", (form) => call("DELETE", `account/${form.closest("dialog").dataset.account}`));

/* ---- start ---- */

tick();
setInterval(tick, 500);
timer = setTimeout(look, EVERY);
document.addEventListener("visibilitychange", () => document.hidden || look());
follow();
