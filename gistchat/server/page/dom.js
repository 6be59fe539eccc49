// Elements are built here and nowhere from HTML: texts of a conversation can only become text nodes.

const SVG = "http://www.w3.org/2000/svg";
const ICONS = {
  plus: "M12 5v14M5 12h14",
  search: "M11 18a7 7 0 1 0 0-14 7 7 0 0 0 0 14ZM20 20l-4-4",
  side: "M4 5h16v14H4zM9.5 5v14",
  close: "M6 6l12 12M18 6L6 18",
  more: "M5.5 11.300a.7.7 0 1 0 0 1.400a.7.7 0 1 0 0-1.400M12 11.300a.7.7 0 1 0 0 1.400a.7.7 0 1 0 0-1.400M18.5 11.300a.7.7 0 1 0 0 1.400a.7.7 0 1 0 0-1.4",
  send: "M12 19V5M6 11l6-6 6 6",
  stop: "M8 8h8v8H8z",
  copy: "M9 9h10v11H9zM5 15V4h10",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  again: "M20 11a8 8 0 1 0-2.3 6.3M20 5v6h-6",
  up: "M7 11v9H4v-9zM7 11l4-8c1.7 0 2.6 1.2 2.3 2.8L12.6 9H18c1.4 0 2.3 1.2 2 2.5l-1.6 7c-.2.9-1 1.5-1.9 1.5H7",
  down: "M17 13V4h3v9zM17 13l-4 8c-1.7 0-2.6-1.2-2.3-2.800L11.4 15H6c-1.4 0-2.3-1.2-2-2.500l1.6-7C5.8 4.6 6.6 4 7.5 4H17",
  receipt: "M6 3h12v18l-3-2-3 2-3-2-3 2zM9 8h6M9 12h6",
  left: "M14 6l-6 6 6 6",
  right: "M10 6l6 6-6 6",
  arrow: "M12 5v14M6 13l6 6 6-6",
  pin: "M9 4h6l-1 6 3 3H7l3-3zM12 13v7",
  drop: "M6 6l12 12M18 6L6 18",
  compare: "M3.5 5h7v14h-7zM13.5 5h7v14h-7z",
  gear: "M4 7h9M17 7h3M4 17h3M11 17h9M15 4.500v5M9 14.500v5",
  help: "M9 9.500a3 3 0 1 1 4.2 2.700c-.8.4-1.2 1-1.2 1.800M12 17.500h.01",
  back: "M11 6l-6 6 6 6M5 12h14",
  check: "M5 12.500l4.5 4.500L19 7.5",
  forget: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13",
  save: "M12 4v11M7 11l5 5 5-5M5 20h14",
};

/** An element. Properties: `class`, attributes, and functions for events (`onclick`); false and null are left out. */
export function el(name, properties = {}, ...children) {
  const node = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "value" || key === "checked" || key === "disabled") node[key] = value;
    else node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(2).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("class", "icon");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return svg;
}

/** A button that shows an icon only; its name is for screen readers and the tooltip. */
export function iconButton(name, label, onclick, properties = {}) {
  return el("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick, ...properties }, icon(name));
}

export function textButton(label, onclick, properties = {}) {
  return el("button", { type: "button", class: "button", onclick, ...properties }, label);
}

/** Tell screen readers. */
export function announce(text) {
  document.getElementById("live").textContent = text;
}

export function plural(number, word) {
  return `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
}

/** "turn 3" or "turns 3–9". */
export function turnsText(first, last) {
  return first === last ? `turn ${first}` : `turns ${first}–${last}`;
}

const STAYS = 7000; // milliseconds; longer than people need to read a line and reach a button

/** A line at the bottom for a while; with `action`, a button. Gives a function that takes it away. */
export function toast(text, action = null, stays = STAYS) {
  const close = () => (node.remove(), clearTimeout(timer));
  const node = el("div", { class: "toast" }, el("span", { dir: "auto" }, text),
    action && textButton(action.label, () => (close(), action.run())),
    iconButton("close", "Dismiss", () => close()));
  let timer = setTimeout(() => close(), stays);
  node.addEventListener("mouseenter", () => clearTimeout(timer));
  node.addEventListener("mouseleave", () => (timer = setTimeout(close, stays)));
  document.getElementById("toasts").append(node);
  return close;
}

/** A modal dialog; Escape and a click beside it close it. The browser gives the focus back to where it was. */
export function dialog(title, content, { wide = false, onclose } = {}) {
  const node = el("dialog", { class: wide ? "dialog wide" : "dialog", "aria-labelledby": "dialog-title" },
    el("div", { class: "dialog-head" }, el("h2", { id: "dialog-title" }, title),
      iconButton("close", "Close", () => node.close())),
    content);
  node.addEventListener("click", (event) => event.target === node && node.close());
  node.addEventListener("close", () => {
    node.remove();
    onclose?.();
  });
  document.body.append(node);
  node.showModal();
  return node;
}

/** Ask for a line of text. Gives null where it is cancelled. */
export function ask(title, label, value = "") {
  return new Promise((resolve) => {
    let answer = null;
    const input = el("input", { id: "ask", class: "field", dir: "auto", value, maxlength: 200, autocomplete: "off" });
    const form = el("form", { class: "stack", onsubmit: (event) => {
      event.preventDefault();
      answer = input.value.trim() || null;
      node.close();
    } }, el("label", { for: "ask" }, label), input,
      el("div", { class: "row end" }, textButton("Cancel", () => node.close()), el("button", { class: "button filled" }, "Save")));
    const node = dialog(title, form, { onclose: () => resolve(answer) });
    input.select();
  });
}

/** Ask before something that cannot be taken back. */
export function sure(title, text, label) {
  return new Promise((resolve) => {
    let yes = false;
    const confirm = textButton(label, () => ((yes = true), node.close()), { class: "button danger" });
    const node = dialog(title, el("div", { class: "stack" }, el("p", { dir: "auto" }, text),
      el("div", { class: "row end" }, textButton("Cancel", () => node.close()), confirm)), { onclose: () => resolve(yes) });
    confirm.focus();
  });
}

/** A menu under a button. `items`: [icon, label, function], null for those that do not apply. */
export function menu(button, items) {
  const entries = items.filter(Boolean).map(([name, label, run, danger]) =>
    el("button", { type: "button", role: "menuitem", class: danger ? "menu-item danger" : "menu-item", tabindex: "-1", onclick: () => {
      node.hidePopover();
      run();
    } }, icon(name), label));
  const node = el("div", { class: "menu", role: "menu", popover: "auto", "aria-label": button.getAttribute("aria-label") }, entries);
  node.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = entries.indexOf(document.activeElement);
    entries[(at + step + entries.length) % entries.length].focus();
  });
  node.addEventListener("toggle", (event) => {
    if (event.newState === "open") return;
    button.removeAttribute("aria-expanded");
    if (node.contains(document.activeElement) && button.isConnected) button.focus();
    node.remove();
  });
  document.body.append(node);
  node.showPopover();
  button.setAttribute("aria-expanded", "true");
  const at = button.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = node;
  node.style.left = `${Math.max(8, Math.min(at.left, innerWidth - width - 8))}px`;
  node.style.top = `${at.bottom + height + 8 > innerHeight ? Math.max(8, at.top - height - 4) : at.bottom + 4}px`;
  entries[0]?.focus();
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    toast("Copied", null, 2000);
  } catch {
    toast("The browser did not allow copying; select the text and copy it by hand");
  }
}
