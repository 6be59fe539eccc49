// One message: its text and what can be done with it.

import { copyText, el, icon, iconButton, menu, textButton } from "./dom.js";
import { show } from "./markdown.js";

const NAMES = { user: "You", model: "Model" };

export function speakerName(speaker) {
  return NAMES[speaker] ?? speaker;
}

function when(seconds) {
  return seconds ? new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" }) : "";
}

/** What of the state a message's element depends on. */
export function lookOf({ number }, { last, total, busy, boundary, found }) {
  return [number === last, busy, number <= boundary, number === boundary && boundary < total, found.has(number)].join();
}

/**
 * The element of a message.
 *
 * `actions`: edit, saveEdit, cancelEdit, regenerate, branch, rate, receipt, pin, forget, each of the message.
 * `state`: {last, busy, boundary, found}: the number of the last turn, whether a reply is under way, up to which turn the
 * gist is read, and the turns that were found.
 */
export function drawMessage(message, state, actions) {
  const person = message.speaker === "user";
  const name = speakerName(message.speaker);
  const classes = ["turn", person ? "person" : "model"];
  const condensed = message.number <= state.boundary;
  if (condensed) classes.push("condensed");
  if (message.number === state.last) classes.push("last");
  const node = el("article", { class: classes.join(" "), "aria-label": `${name}, turn ${message.number}` });
  if (!person && message.speaker !== "model") node.append(el("p", { class: "speaker" }, name));
  if (message.editing) node.append(editor(message, actions));
  else {
    node.append(body(message, person));
    if (!message.pending) node.append(tools(message, state, actions));
  }
  // Beside the turn after which the model reads word for word, so that it scrolls and is measured with it.
  if (message.number === state.boundary && state.boundary < state.total) node.append(boundary(actions));
  return node;
}

function body(message, person) {
  const node = el("div", { class: "text" });
  if (message.pending && !message.text) node.append(el("span", { class: "dots", role: "img", "aria-label": "The model is reading" }, el("i"), el("i"), el("i")));
  else if (person) for (const part of message.text.split(/\n{2,}/)) node.append(el("p", { dir: "auto" }, part));
  else show(node, message.text);
  return node;
}

/** Show more of a message that is being written. */
export function grow(row, message) {
  const node = row.querySelector(".text");
  if (!node) return;
  node.querySelector(".dots")?.remove();
  show(node, message.text);
}

function boundary(actions) {
  return el("div", { class: "boundary" },
    textButton("Above this line the model reads the gist", () => actions.memory(), { class: "boundary-label" }));
}

function tools(message, { last, busy, found }, actions) {
  const person = message.speaker === "user";
  const at = message.siblings?.indexOf(message.key) ?? -1;
  const many = message.siblings?.length > 1;
  const button = (name, label, run, properties) => iconButton(name, label, () => run(message), properties);
  return el("div", { class: "tools" },
    many && el("span", { class: "branches", role: "group", "aria-label": "Versions of this turn" },
      button("left", "Version before", () => actions.branch(message, message.siblings[at - 1]), { disabled: at <= 0 || busy }),
      el("span", {}, `${at + 1}/${message.siblings.length}`),
      button("right", "Next version", () => actions.branch(message, message.siblings[at + 1]), { disabled: at >= message.siblings.length - 1 || busy })),
    button("copy", "Copy", () => copyText(message.text)),
    person && button("edit", "Edit", actions.edit, { disabled: busy }),
    !person && message.number === last && button("again", "Answer again", actions.regenerate, { disabled: busy }),
    !person && button("up", "Good answer", () => actions.rate(message, 1), { "aria-pressed": String(message.rating === 1) }),
    !person && button("down", "Bad answer", () => actions.rate(message, -1), { "aria-pressed": String(message.rating === -1) }),
    message.receipt && el("button", { type: "button", class: "quiet", onclick: () => actions.receipt(message) }, icon("receipt"), "What it read"),
    iconButton("more", `More for turn ${message.number}`, (event) => menu(event.currentTarget, [
      !person && ["edit", "Edit", () => actions.edit(message)],
      ["pin", "Pin this text", () => actions.pin(message)],
      ["forget", "Forget this turn…", () => actions.forget(message), true],
    ]), { "aria-haspopup": "menu", disabled: busy }),
    el("span", { class: "stamp", title: when(message.created) }, found.has(message.number) && el("span", { class: "mark found" }, "found"), `${message.number}`));
}

function editor(message, actions) {
  const person = message.speaker === "user";
  const area = el("textarea", { class: "field", dir: "auto", rows: "2", "aria-label": `Text of turn ${message.number}`, value: message.editing.text });
  const fit = () => {
    area.style.height = "auto";
    area.style.height = `${area.scrollHeight + 2}px`;
  };
  const save = (answer) => area.value.trim() && actions.saveEdit(message, area.value, answer);
  area.addEventListener("input", () => ((message.editing.text = area.value), fit()));
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    if (event.key === "Escape") (event.stopPropagation(), actions.cancelEdit(message));
    if (event.key === "Enter" && !event.shiftKey && (person || event.ctrlKey || event.metaKey)) (event.preventDefault(), save(person));
  });
  requestAnimationFrame(fit);
  return el("div", { class: "editor" }, area,
    el("div", { class: "row end" },
      el("span", { class: "note" }, "The version before is kept."),
      textButton("Cancel", () => actions.cancelEdit(message)),
      textButton(person ? "Only change" : "Save", () => save(false), { class: person ? "button" : "button filled" }),
      person && textButton("Answer anew", () => save(true), { class: "button filled" })));
}
