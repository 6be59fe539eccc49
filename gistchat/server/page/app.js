// The page: puts the parts together.

import { call, connection, download, explain, get, hasKey } from "./api.js";
import { Chat } from "./chat.js";
import { Composer } from "./composer.js";
import { ConversationList } from "./conversations.js";
import { announce, ask, el, icon, menu, toast } from "./dom.js";
import { openPalette } from "./palette.js";
import { askKey, openHelp, openSettings } from "./settings.js";

const $ = (id) => document.getElementById(id);
const NARROW = matchMedia("(max-width: 1099px)"); // the memory is a drawer
const PHONE = matchMedia("(max-width: 759px)"); // so is the list

let info = { strategies: [], budget: 0, strategy: "", model: "", version: "" };

const chat = new Chat({ scroller: $("scroller"), panel: $("panel"), toLatest: $("to-latest") }, {
  changed: show,
  created,
  gone: () => go(null),
  busy: (yes) => composer.busy(yes),
  settings: () => settings(),
  showPanel,
  leavePanel: () => NARROW.matches && showPanel(false),
  remembered: meter,
  start: (text) => composer.fill(text),
});
const composer = new Composer($("composer"), {
  send: (text) => chat.send(text),
  compare: (text, strategies) => chat.compare(text, strategies),
  stop: () => chat.stop(),
  editLast: () => chat.editLast(),
  strategies: () => [info.strategies, chat.conversation?.strategy ?? chat.wanted.strategy ?? info.strategy],
});
const list = new ConversationList($("conversations"), {
  open: () => PHONE.matches && showSide(false),
  rename,
  remove,
  save,
  fail: (error) => error.status !== 401 && toast(explain(error)),
});

// ---- conversations

function show(conversation) {
  if (conversation.id !== chat.id) return;
  chat.conversation = conversation;
  const title = conversation.title || "New conversation";
  $("title").textContent = title;
  $("title").title = title;
  $("more").hidden = false;
  document.title = `${title} · gistchat`;
  const known = list.known.findIndex(({ id }) => id === conversation.id);
  const moved = known < 0 || list.known[known].updated !== conversation.updated;
  if (known >= 0) list.known.splice(known, 1, conversation);
  else list.known.unshift(conversation);
  if (moved) list.known.sort((one, other) => other.updated - one.updated);
  list.select(conversation.id);
}

function created(conversation) {
  history.replaceState(null, "", `#${conversation.id}`);
  composer.use(conversation.id);
  show(conversation);
}

/** Open a conversation, or with null a new one. */
function go(id) {
  if ((location.hash.slice(1) || null) === id) return route();
  location.hash = id ?? "";
}

async function route() {
  const id = location.hash.slice(1) || null;
  if (id && id === chat.id) return;
  list.current = id;
  $("title").textContent = id ? (list.known.find((one) => one.id === id)?.title ?? "") : "New conversation";
  $("more").hidden = true;
  document.title = "gistchat";
  list.select(id);
  meter(null);
  chat.receiptShown = false;
  composer.use(id);
  if (!PHONE.matches) composer.focus();
  await chat.open(id);
}

async function rename(conversation) {
  const title = await ask("Rename", "Title", conversation.title);
  if (!title) return;
  await chat.attempt(async () => {
    const changed = await call("PATCH", `api/conversations/${conversation.id}`, { title });
    if (changed.id === chat.id) show(changed);
    await list.load();
  });
}

const leaving = new Map(); // ids of what is to be deleted -> delete it now

/** Delete after a while in which it can be undone; at once where the page is closed. */
function remove(conversation) {
  const { id } = conversation;
  list.hide(id, true);
  if (id === chat.id) go(null);
  const now = async (keepalive = false) => {
    clearTimeout(timer);
    leaving.delete(id);
    try {
      await call("DELETE", `api/conversations/${id}`, undefined, { keepalive });
    } catch (error) {
      list.hide(id, false);
      toast(explain(error));
    }
    if (!keepalive) list.load();
  };
  const undo = () => {
    clearTimeout(timer);
    leaving.delete(id);
    list.hide(id, false);
    go(id);
  };
  const timer = setTimeout(now, 7000);
  leaving.set(id, now);
  toast(`Deleted “${conversation.title || "Untitled"}”`, { label: "Undo", run: undo });
}

addEventListener("pagehide", () => leaving.forEach((now) => now(true)));

async function save(conversation) {
  const name = (conversation.title || "conversation").replace(/[^\p{L}\p{N}]+/gu, "-").slice(0, 60);
  await chat.attempt(() => download(`api/conversations/${conversation.id}/export`, `${name}.jsonl`));
}

// ---- drawers

function showPanel(open) {
  document.body.classList.toggle("panel-shown", open);
  $("panel-toggle").setAttribute("aria-expanded", String(open));
  if (open && NARROW.matches) $("panel").querySelector("button")?.focus();
  if (!open && chat.receiptShown) chat.closeReceipt();
  if (!NARROW.matches) localStorage.setItem("panel", open ? "shown" : "hidden");
  drawers();
}

function showSide(open) {
  document.body.classList.toggle("side-shown", open);
  $("side-open").setAttribute("aria-expanded", String(open));
  if (open && PHONE.matches) $("side-close").focus();
  if (!PHONE.matches) localStorage.setItem("side", open ? "shown" : "hidden");
  drawers();
}

/** What is behind an open drawer takes no part; what is closed neither. */
function drawers() {
  const panel = document.body.classList.contains("panel-shown");
  const side = document.body.classList.contains("side-shown");
  const over = (panel && NARROW.matches) || (side && PHONE.matches);
  $("backdrop").hidden = !over;
  $("main").inert = over;
  $("panel").inert = !panel || (side && PHONE.matches);
  $("side").inert = !side || (panel && NARROW.matches);
}

function closeDrawers() {
  if (document.body.classList.contains("panel-shown") && NARROW.matches) (showPanel(false), $("panel-toggle").focus());
  if (document.body.classList.contains("side-shown") && PHONE.matches) (showSide(false), $("side-open").focus());
}

function layOut() {
  showSide(!PHONE.matches && localStorage.getItem("side") !== "hidden");
  showPanel(!NARROW.matches && localStorage.getItem("panel") !== "hidden");
}

/** How much of the budget is used, in the button of the memory. */
function meter(memory) {
  const share = memory?.tokens.budget ? Math.min(1, memory.tokens.used / memory.tokens.budget) : 0;
  $("panel-toggle").style.setProperty("--share", share);
  $("panel-toggle").title = memory ? `${memory.tokens.used} of ${memory.tokens.budget} tokens` : "Memory";
}

// ---- settings, help, keys

function settings() {
  const current = chat.conversation ?? chat.wanted;
  openSettings(info, { strategy: current.strategy ?? info.strategy, budget: current.budget ?? chat.memory?.budget ?? info.budget }, (wanted) => chat.choose(wanted));
}

function search() {
  openPalette({ id: chat.id, total: chat.transcript.total, open: go, goTo: (turn) => chat.goTo(turn), explain });
}

function fresh() {
  go(null);
  if (PHONE.matches) showSide(false);
  composer.focus();
}

addEventListener("keydown", (event) => {
  if (event.defaultPrevented || event.isComposing) return;
  const command = event.ctrlKey || event.metaKey;
  const modal = document.querySelector("dialog[open]");
  const typing = event.target.closest?.("input, textarea, select");
  const key = event.key.toLowerCase();
  const shortcut =
    command && key === "k" ? search
    : (command || event.altKey) && event.code === "KeyN" && !event.shiftKey ? fresh
    : event.altKey && event.code === "KeyM" ? () => showPanel(!document.body.classList.contains("panel-shown"))
    : event.altKey && key === "arrowup" ? () => chat.transcript.total && chat.transcript.step(-1)
    : event.altKey && key === "arrowdown" ? () => chat.transcript.total && chat.transcript.step(1)
    : key === "?" && !typing && !command ? openHelp
    : key === "escape" ? escape
    : null;
  if (!shortcut || modal || document.querySelector("[popover]:popover-open")) return;
  if (key !== "escape") event.preventDefault();
  shortcut();
});

function escape() {
  if (!$("backdrop").hidden) closeDrawers();
  else if (chat.busy) (chat.stop(), announce("Stopped"));
  else if (chat.receiptShown) chat.closeReceipt();
  else composer.focus();
}

connection.addEventListener("away", () => {
  $("away").replaceChildren("The server does not answer. Trying again… What you typed is kept.");
  $("away").hidden = false;
});
connection.addEventListener("back", () => {
  $("away").hidden = true;
  list.load();
});
connection.addEventListener("key", () => askKey().then((right) => right && begin()));

// ---- start

function dress() {
  for (const [id, name] of [["side-close", "side"], ["side-open", "side"], ["help", "help"], ["settings", "gear"], ["more", "more"], ["to-latest", "arrow"]]) $(id).append(icon(name));
  $("new").prepend(icon("plus"));
  $("search").prepend(icon("search"));
  $("search").append(el("kbd", { "aria-hidden": "true" }, /Mac/.test(navigator.platform) ? "⌘ K" : "Ctrl K"));
  const on = (id, run) => $(id).addEventListener("click", run);
  on("new", fresh);
  on("search", search);
  on("help", openHelp);
  on("settings", settings);
  on("side-close", () => (showSide(false), $("side-open").focus()));
  on("side-open", () => showSide(true));
  on("panel-toggle", () => showPanel(!document.body.classList.contains("panel-shown")));
  on("backdrop", closeDrawers);
  on("to-latest", () => chat.transcript.toEnd());
  on("more", (event) => menu(event.currentTarget, list.menuOf(chat.conversation)));
  NARROW.addEventListener("change", layOut);
  PHONE.addEventListener("change", layOut);
  addEventListener("hashchange", route);
}

async function begin() {
  list.load();
  await route();
}

async function start() {
  dress();
  layOut();
  composer.use(location.hash.slice(1) || null);
  try {
    info = await get("api/info");
  } catch (error) {
    toast(explain(error));
  }
  $("model-name").textContent = info.model;
  $("model-name").title = info.model;
  composer.strategiesChanged();
  if (info.needs_key && !hasKey()) {
    chat.welcome();
    if (!(await askKey())) return;
  }
  await begin();
}

chat.opened = start();
