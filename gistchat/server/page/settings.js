// Dialogs: settings, API key, keyboard shortcuts.

import { ApiError, get, hasKey, setKey } from "./api.js";
import { dialog, el, textButton } from "./dom.js";

const STRATEGIES = {
  memory: "Pinned lines, facts and a gist; turns that your message asks for are found; the latest turns word for word.",
  rolling: "A gist of older turns that is carried on, and the latest turns word for word.",
  retrieval: "Older turns that your message asks for, and the latest turns word for word.",
  hybrid: "A summary made anew, and the latest turns word for word.",
  summary: "Only a summary of everything before your message.",
  recent: "Only the latest turns, word for word.",
  full: "Everything, up to what the model can read.",
  last: "Only your message.",
};

export function strategyText(name) {
  return STRATEGIES[name] ?? "";
}

/** Light, dark, or as the system has it. */
function setTheme(theme) {
  if (theme) localStorage.setItem("theme", theme);
  else localStorage.removeItem("theme");
  if (theme) document.documentElement.dataset.theme = theme;
  else delete document.documentElement.dataset.theme;
}

/** `info`: of the server; `current`: {strategy, budget} of the conversation; `save({strategy, budget})`. */
export function openSettings(info, current, save) {
  const theme = localStorage.getItem("theme") ?? "";
  const themes = el("fieldset", { class: "segments" }, el("legend", {}, "Appearance"), [["", "System"], ["light", "Light"], ["dark", "Dark"]].map(([value, label]) =>
    el("label", {}, el("input", { type: "radio", name: "theme", value, checked: value === theme, onchange: () => setTheme(value) }), el("span", {}, label))));
  const strategies = el("fieldset", { class: "choices" }, el("legend", {}, "What the model reads"), info.strategies.map((name) =>
    el("label", { class: "choice" }, el("input", { type: "radio", name: "strategy", value: name, checked: name === current.strategy }),
      el("span", {}, el("b", {}, name), el("span", { class: "note" }, strategyText(name))))));
  const budget = el("input", { id: "budget", class: "field", type: "number", min: "0", max: info.limit || 1_000_000, step: "1", inputmode: "numeric", value: current.budget ?? info.budget });
  const fault = el("p", { class: "fault", role: "alert" });
  const form = el("form", { class: "stack", novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    const tokens = Number(budget.value);
    if (!budget.value.trim() || !Number.isInteger(tokens) || tokens < 0) return fault.replaceChildren("The budget is a whole number of tokens.");
    try {
      await save({ strategy: form.querySelector("[name=strategy]:checked")?.value ?? current.strategy, budget: tokens });
      node.close();
    } catch (error) {
      fault.replaceChildren(error.message);
    }
  } }, themes, strategies,
  el("div", {}, el("label", { for: "budget" }, "Budget in tokens"), el("p", { class: "note" }, `For everything before your message.${info.limit ? ` The model can read ${info.limit.toLocaleString("en")} tokens in all.` : ""}`), budget),
  fault,
  el("div", { class: "row" }, el("span", { class: "note" }, `gistchat ${info.version}`), el("span", { class: "stretch" }),
    info.needs_key && textButton("Change API key", () => (node.close(), askKey())), el("button", { class: "button filled" }, "Save")));
  const node = dialog("Settings", form, { wide: true });
}

let asking = null;

/** Ask for the API key until it fits. Gives true; or false where it was closed. */
export function askKey() {
  asking ??= new Promise((resolve) => {
    let right = false;
    const fault = el("p", { class: "fault", role: "alert" }, hasKey() ? "The server did not take that key." : "");
    const input = el("input", { id: "key", class: "field", type: "password", autocomplete: "off", required: true });
    const form = el("form", { class: "stack", onsubmit: async (event) => {
      event.preventDefault();
      setKey(input.value.trim());
      try {
        await get("api/conversations?limit=1");
        right = true;
        node.close();
      } catch (error) {
        fault.replaceChildren(error instanceof ApiError && error.status === 401 ? "The server did not take that key." : error.message);
      }
    } }, el("label", { for: "key" }, "This server wants a key. Whoever runs it can give you one."), input,
      el("p", { class: "note" }, "It is kept until you close this tab."), fault,
      el("div", { class: "row end" }, el("button", { class: "button filled" }, "Go on")));
    const node = dialog("API key", form, { onclose: () => ((asking = null), resolve(right)) });
    input.focus();
  });
  return asking;
}

const SHORTCUTS = [
  [["Enter"], "Send"],
  [["Shift", "Enter"], "New line"],
  [["Esc"], "Stop the answer; close what is open"],
  [["↑"], "Edit your last message (in the empty box)"],
  [["Ctrl", "K"], "Search conversations and turns"],
  [["Alt", "N"], "New conversation"],
  [["Alt", "M"], "Show or hide the memory"],
  [["Alt", "↑"], "Turn before"],
  [["Alt", "↓"], "Next turn"],
  [["?"], "This list"],
];

export function openHelp() {
  const mac = /Mac|iPhone|iPad/.test(navigator.platform);
  const name = (key) => (mac ? { Ctrl: "⌘", Alt: "⌥" }[key] ?? key : key);
  dialog("Keyboard", el("dl", { class: "shortcuts" }, SHORTCUTS.map(([keys, does]) => [el("dt", {}, does), el("dd", {}, keys.map((key) => el("kbd", {}, name(key))))])));
}
