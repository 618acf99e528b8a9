// Refreshes the page while it is visible, and handles keyboard shortcuts. The dashboard works without this script, too.
"use strict";

const live = document.getElementById("live");
const settings = { get: (k) => { try { return localStorage.getItem(k); } catch { return null; } },
                   set: (k, v) => { try { localStorage.setItem(k, v); } catch { /* off */ } } };

// -- what the user has opened or ticked is kept on refresh ----------------------------------------------------------------

if (window.Idiomorph) {
  Idiomorph.defaults.callbacks.beforeAttributeUpdated = (name, node) =>
    !((name === "open" && node.tagName === "DETAILS") || (name === "checked" && node.type === "checkbox"));
}
const ticked = new Set();
const boxes = () => [...document.querySelectorAll('input[name="ids"][type="checkbox"]')];

function showTicked() {
  const there = boxes();
  for (const box of there) box.checked = ticked.has(box.value);
  const chosen = document.getElementById("chosen");
  if (chosen) chosen.textContent = ticked.size ? `${ticked.size} selected` : "none selected";
  const all = document.getElementById("tick-all");
  if (all) {
    all.checked = there.length > 0 && there.every((box) => box.checked);
    all.indeterminate = !all.checked && there.some((box) => box.checked);
  }
}

document.addEventListener("change", (event) => {
  const box = event.target;
  if (box.id === "tick-all") {
    for (const one of boxes()) { if (box.checked) ticked.add(one.value); else ticked.delete(one.value); }
  } else if (box.name === "ids" && box.type === "checkbox") {
    if (box.checked) ticked.add(box.value); else ticked.delete(box.value);
  } else return;
  showTicked();
});

// A ticked job that has left the page since is still part of the selection.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.id !== "bulk") return;
  const there = new Set(boxes().map((box) => box.value));
  for (const id of ticked) {
    if (there.has(id)) continue;
    const input = document.createElement("input");
    Object.assign(input, { type: "hidden", name: "ids", value: id });
    form.append(input);
  }
});

// -- refreshing ----------------------------------------------------------------------------------------------------------

const every = Number(document.body.dataset.refresh || 3) * 1000;
const liveSwitch = document.getElementById("live-switch");
let paused = settings.get("embedq-paused") === "1";
let busy = false;
// The server sets the minimum pause (X-Embedq-Rest): slow pages are requested less often.
let restUntil = 0;

function refresh() {
  if (!live || paused || busy || performance.now() < restUntil || document.visibilityState !== "visible" || !window.htmx) return;
  if (live.contains(document.activeElement) && document.activeElement.matches("input[type=text], select, textarea")) return;
  if (!getSelection().isCollapsed && live.contains(getSelection().anchorNode)) return;  // The user is selecting text.
  htmx.trigger(live, "refresh");
}

function showState() {
  const lost = document.body.classList.contains("lost");
  document.getElementById("live-words").textContent = paused ? "Paused" : lost ? "Disconnected" : "Live";
}

function showPaused() {
  liveSwitch.setAttribute("aria-pressed", String(!paused));
  document.body.classList.toggle("paused", paused || !live);
  showState();
  liveSwitch.hidden = !live;
}

function pause() {
  paused = !paused;
  settings.set("embedq-paused", paused ? "1" : "0");
  showPaused();
  refresh();
}

if (live) {
  setInterval(refresh, every);
  document.addEventListener("visibilitychange", refresh);
  live.addEventListener("htmx:configRequest", (event) => {
    if (live.dataset.etag) event.detail.headers["If-None-Match"] = live.dataset.etag;
  });
  live.addEventListener("htmx:beforeRequest", () => { busy = true; });
  live.addEventListener("htmx:afterRequest", (event) => {
    busy = false;
    const response = event.detail.xhr;
    document.body.classList.toggle("lost", !(response.status >= 200 && response.status < 400));
    showState();
    restUntil = performance.now() + 1000 * Number(response.getResponseHeader("X-Embedq-Rest") || 0);
    const etag = response.getResponseHeader("ETag");
    if (etag) live.dataset.etag = etag;
    if (response.status === 304) showTimes();
  });
  live.addEventListener("htmx:sendError", () => { busy = false; document.body.classList.add("lost"); showState(); });
  live.addEventListener("htmx:afterSwap", () => { showTicked(); showTimes(); markAgain(); });
}
liveSwitch.addEventListener("click", pause);

// -- times: relative to now, and in the browser's time zone on hover ------------------------------------------------------

const units = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
// Relative to the browser's clock.
function words(seconds) {
  const length = Math.round(Math.abs(seconds));
  if (length === 0) return "now";
  const [size, unit] = units.find(([size]) => length >= size) || units[3];
  const text = `${Math.floor(length / size)} ${unit}`;
  return seconds < 0 ? `${text} ago` : `in ${text}`;
}

function showTimes() {
  for (const time of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(time.dateTime);
    if (!("still" in time.dataset)) {
      const said = words((moment - Date.now()) / 1000);
      const text = "length" in time.dataset ? said.replace(/^in | ago$/, "") : said;
      if (time.textContent !== text) time.textContent = text;
    }
    if (!time.dataset.local) {
      time.dataset.local = "1";
      time.title = `${time.title} · ${moment.toLocaleString()}`;
    }
  }
}
setInterval(() => { if (document.visibilityState === "visible" && !paused) showTimes(); }, 1000);

// -- theme ---------------------------------------------------------------------------------------------------------------

function nextTheme() {
  const root = document.documentElement;
  const order = ["", "dark", "light"];
  const theme = order[(order.indexOf(root.dataset.theme || "") + 1) % 3];
  if (theme) root.dataset.theme = theme; else delete root.dataset.theme;
  settings.set("embedq-theme", theme);
}
document.getElementById("theme-switch").addEventListener("click", nextTheme);

// -- keyboard shortcuts --------------------------------------------------------------------------------------------------

const help = document.getElementById("help");
document.getElementById("help-switch").addEventListener("click", () => help.showModal());
const pages = { o: "", j: "jobs", d: "dead", r: "recurring", q: "queues", l: "limits", s: "servers", t: "tasks", a: "audit" };
// The marked row, identified by its link, and its position: rows are added and removed above it.
let marked = null;
let place = -1;
let going = 0;

function rows() { return [...document.querySelectorAll("[data-row]")]; }

const about = (row) => row.id || row.querySelector("[data-open]")?.getAttribute("href");
const markedRow = () => (marked === null ? undefined : rows().find((row) => about(row) === marked));

function mark(index) {
  const all = rows();
  for (const row of all) row.classList.remove("marked");
  if (index < 0 || !all.length) return;
  place = Math.min(index, all.length - 1);
  const row = all[place];
  marked = about(row);
  row.classList.add("marked");
  (row.querySelector("[data-open]") || row).focus({ preventScroll: true });
  row.scrollIntoView({ block: "nearest" });
}

function markAgain() {
  const row = markedRow();
  for (const other of rows()) other.classList.toggle("marked", other === row);
  if (row) place = rows().indexOf(row);
  else marked = null;
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || help.open) return;
  if (event.target.matches("input:not([type=checkbox]), select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (going && Date.now() - going < 1200) {
    going = 0;
    if (event.key in pages) {
      event.preventDefault();
      const home = document.querySelector(".brand").getAttribute("href").replace(/\/$/, "");
      location.assign(`${home}/${pages[event.key]}`);
      return;
    }
  }
  const keys = {
    "/": () => document.getElementById("search").focus(),
    "?": () => help.showModal(),
    j: () => mark(place + 1),
    k: () => mark(Math.max(0, place - 1)),
    g: () => { going = Date.now(); },
    p: pause,
    t: nextTheme,
    x: () => markedRow()?.querySelector('input[type="checkbox"]')?.click(),
  };
  if (event.key in keys) { event.preventDefault(); keys[event.key](); }
});

// On phones the navigation and the tabs scroll: scroll to the current item.
for (const bar of document.querySelectorAll(".side, .tabs")) {
  const here = bar.querySelector("[aria-current]");
  if (here) bar.scrollLeft = here.offsetLeft - bar.offsetLeft - (bar.clientWidth - here.offsetWidth) / 2;
}

showPaused();
showTicked();
showTimes();
