// Search: turns of the open conversation, conversations, and a turn by its number.

import { get } from "./api.js";
import { dialog, el, icon } from "./dom.js";
import { speakerName } from "./message.js";

const PAUSE = 140; // milliseconds without a key before the server is asked

/** `open(id)`, `goTo(number)`; `id` and `total` of the open conversation. */
export function openPalette({ id, total, open, goTo, explain }) {
  let timer = 0;
  let asked = 0;
  let at = 0;
  let shown = null; // the text that the results are for
  const input = el("input", { class: "palette-input", role: "combobox", "aria-expanded": "true", "aria-controls": "palette-list", "aria-autocomplete": "list",
    "aria-label": "Search conversations and turns", placeholder: id ? "Search, or a turn's number" : "Search conversations", dir: "auto", autocomplete: "off", spellcheck: "false" });
  const list = el("div", { id: "palette-list", class: "palette-list", role: "listbox", "aria-label": "Results" });
  const node = dialog("Search", el("div", { class: "palette" }, input, list));
  node.classList.add("palette-dialog");
  const options = () => [...list.querySelectorAll("[role=option]")];
  const mark = (to) => {
    const all = options();
    if (!all.length) return input.removeAttribute("aria-activedescendant");
    at = (to + all.length) % all.length;
    all.forEach((option, number) => option.setAttribute("aria-selected", String(number === at)));
    input.setAttribute("aria-activedescendant", all[at].id);
    all[at].scrollIntoView({ block: "nearest" });
  };
  const option = (name, text, note, run) => {
    const item = el("div", { role: "option", class: "option", "aria-selected": "false", onclick: () => (node.close(), run()) },
      icon(name), el("span", { class: "option-text", dir: "auto" }, text), note && el("span", { class: "note" }, note));
    return item;
  };
  const search = async () => {
    const text = input.value.trim();
    const turn = ++asked;
    const wanted = encodeURIComponent(text);
    try {
      const [found, listed] = await Promise.all([
        id && text ? get(`api/conversations/${id}/search?q=${wanted}`) : { found: [] },
        get(`api/conversations?limit=20&search=${wanted}`),
      ]);
      if (turn === asked) results(text, found.found, listed.conversations);
    } catch (error) {
      if (turn === asked) list.replaceChildren(el("p", { class: "note" }, explain(error)));
    }
  };
  /** Take the marked result; first wait for those of what was typed last. */
  const choose = async () => {
    clearTimeout(timer);
    if (shown !== input.value.trim()) await search();
    options()[at]?.click();
  };
  const results = (text, turns, conversations) => {
    const number = /^#?\d+$/.test(text) ? parseInt(text.replace("#", "")) : 0;
    const groups = [
      ["", number >= 1 && number <= total ? [option("right", `Go to turn ${number}`, "", () => goTo(number))] : []],
      ["In this conversation", turns.slice(0, 20).map((turn) => option("arrow", turn.text, `${speakerName(turn.speaker)}, turn ${turn.number}${turn.why ? ` · ${turn.why}` : ""}`, () => goTo(turn.number)))],
      [text ? "Conversations" : "Latest conversations", conversations.map((one) => option("right", one.title || "Untitled", "", () => open(one.id)))],
    ].filter(([, entries]) => entries.length);
    shown = text;
    list.replaceChildren(...groups.map(([title, entries], group) => el("div", { role: "group", "aria-label": title || "Go to" }, title && el("div", { class: "group-name", "aria-hidden": "true" }, title), entries)));
    options().forEach((entry, order) => (entry.id = `option-${order}`));
    if (!groups.length) list.replaceChildren(el("p", { class: "note" }, "Nothing found. Fewer or other words may help."));
    mark(0);
  };
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(search, PAUSE);
  });
  input.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "ArrowDown") (event.preventDefault(), mark(at + 1));
    if (event.key === "ArrowUp") (event.preventDefault(), mark(at - 1));
    if (event.key === "Enter") (event.preventDefault(), choose());
  });
  input.focus();
  search();
}
