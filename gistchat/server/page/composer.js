// The box for what is said next. What is typed is kept for each conversation until it is sent.

import { el, icon } from "./dom.js";

export class Composer {
  /** `actions`: send(text), compare(text, strategies), stop(), editLast(), strategies(). */
  constructor(form, actions) {
    Object.assign(this, { form, actions, id: null, comparing: false, waits: false });
    this.area = form.querySelector("textarea");
    this.row = form.querySelector(".composer-row");
    this.compareButton = el("button", { type: "button", class: "compare-button", title: "Answer in two ways, side by side", "aria-pressed": "false", onclick: () => this.compare(!this.comparing) }, icon("compare"), "Compare");
    this.sides = el("div", { class: "side-choice", hidden: true });
    this.button = el("button", { type: "submit", class: "send" });
    this.row.append(this.compareButton, this.sides, el("span", { class: "stretch" }), this.button);
    this.area.addEventListener("input", () => this.typed());
    this.area.addEventListener("keydown", (event) => this.key(event));
    form.addEventListener("submit", (event) => (event.preventDefault(), this.submit()));
    this.busy(false);
  }

  /** The draft of this conversation. */
  use(id) {
    if (this.id === null && id && this.area.value) this.keep(""); // the draft of the new conversation is this one's now
    else if (id !== this.id) this.area.value = sessionStorage.getItem(`draft:${id ?? ""}`) ?? "";
    this.id = id;
    this.compare(false);
    this.typed();
  }

  keep(text) {
    const name = `draft:${this.id ?? ""}`;
    if (text) sessionStorage.setItem(name, text);
    else sessionStorage.removeItem(name);
  }

  typed() {
    this.keep(this.area.value);
    this.area.style.height = "auto";
    this.area.style.height = `${this.area.scrollHeight}px`;
    this.draw();
  }

  fill(text) {
    this.area.value = text;
    this.typed();
    this.focus();
  }

  focus() {
    this.area.focus({ preventScroll: true });
  }

  busy(yes) {
    this.waits = yes;
    this.draw();
  }

  draw() {
    const label = this.waits ? "Stop" : this.comparing ? "Send to both" : "Send";
    if (this.button.getAttribute("aria-label") !== label) {
      this.button.setAttribute("aria-label", label);
      this.button.title = label;
      this.button.replaceChildren(icon(this.waits ? "stop" : "send"));
    }
    this.button.classList.toggle("stops", this.waits);
    this.button.disabled = !this.waits && !this.area.value.trim();
  }

  key(event) {
    if (event.isComposing) return;
    if (event.key === "Enter" && !event.shiftKey && !event.altKey) {
      event.preventDefault();
      if (!this.waits) this.submit();
    } else if (event.key === "ArrowUp" && !event.altKey && !this.area.value && !this.waits) {
      event.preventDefault();
      this.actions.editLast();
    }
  }

  async submit() {
    if (this.waits) return this.actions.stop();
    const text = this.area.value;
    if (!text.trim()) return;
    const { comparing } = this;
    const chosen = [...this.sides.querySelectorAll("select")].map((select) => select.value);
    const id = this.id;
    this.area.value = "";
    this.busy(true);
    this.area.style.height = "auto";
    const taken = await (comparing ? this.actions.compare(text, chosen) : this.actions.send(text));
    this.busy(false);
    if (taken) this.forget(id, text);
    else if (this.id === id || id === null) this.restore(text);
  }

  /** Sent: its draft goes, unless something was typed since. */
  forget(id, text) {
    for (const name of [`draft:${id ?? ""}`, `draft:${this.id ?? ""}`]) if (sessionStorage.getItem(name) === text) sessionStorage.removeItem(name);
    this.draw();
  }

  restore(text) {
    this.area.value = this.area.value ? `${text}\n${this.area.value}` : text;
    this.typed();
  }

  // ---- comparing

  compare(on) {
    this.comparing = on;
    this.compareButton.setAttribute("aria-pressed", String(on));
    this.sides.hidden = !on;
    if (on) this.strategiesChanged();
    this.draw();
  }

  strategiesChanged() {
    const [names, current] = this.actions.strategies();
    const other = ["recent", "full", "memory"].find((name) => names.includes(name) && name !== current) ?? names[0];
    const select = (label, chosen) => el("select", { class: "field small", "aria-label": label }, names.map((name) => el("option", { value: name, selected: name === chosen }, name)));
    this.sides.replaceChildren(select("First strategy", current), el("span", { class: "note" }, "and"), select("Second strategy", other));
    this.compareButton.hidden = names.length < 2;
  }
}
