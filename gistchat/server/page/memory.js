// The memory panel: what the model will read of the conversation, where each line comes from, and how to correct it.

import { el, icon, iconButton, plural, textButton, turnsText } from "./dom.js";

export const PARTS = {
  pinned: "Pinned",
  facts: "Facts",
  gist: "Gist",
  found: "Found",
  verbatim: "Word for word",
};

/** Tokens of the budget by part: a bar, and a legend that says the same in words. */
export function budgetBar(tokens) {
  const { used, budget, parts } = tokens;
  const shown = Object.entries(PARTS).filter(([part]) => parts[part] > 0);
  const bar = el("div", { class: "budget-bar", "aria-hidden": "true" }, shown.map(([part]) => {
    const segment = el("span", { class: `segment ${part}` });
    segment.style.flexGrow = parts[part];
    return segment;
  }), (() => {
    const rest = el("span", { class: "segment rest" });
    rest.style.flexGrow = Math.max(0, budget - used);
    return rest;
  })());
  const legend = el("ul", { class: "legend" }, shown.map(([part, name]) =>
    el("li", {}, el("span", { class: `mark ${part}`, "aria-hidden": "true" }), `${name} `, el("b", {}, parts[part].toLocaleString("en")))));
  return el("div", { class: "budget" },
    el("p", { class: "budget-figures" }, el("b", {}, used.toLocaleString("en")), ` of ${budget.toLocaleString("en")} tokens`), bar, legend);
}

/** Chips that lead to the turns of a line. */
export function turnChips(turns, goTo) {
  return turns.map((turn) => el("button", { type: "button", class: "chip", "aria-label": `Go to turn ${turn}`, title: `Go to turn ${turn}`, onclick: () => goTo(turn) }, `${turn}`));
}

function line(part, text, { chips = [], note = "", tools = [] } = {}) {
  return el("li", { class: "line" }, el("span", { class: `mark ${part}`, "aria-hidden": "true" }),
    el("div", { class: "line-body" }, el("span", { class: "line-text", dir: "auto" }, text),
      (chips.length > 0 || note) && el("span", { class: "line-foot" }, chips, note && el("span", {}, note))),
    el("span", { class: "line-tools" }, tools));
}

function section(title, note, tools, ...content) {
  return el("section", { class: "part" },
    el("div", { class: "part-head" }, el("h3", {}, title), note && el("span", { class: "note" }, note), el("span", { class: "stretch" }), tools), content);
}

export class MemoryPanel {
  /** `actions`: goTo(turn), change(method, path, body, said), settings(), close(). */
  constructor(node, actions) {
    Object.assign(this, { node, actions, memory: null, editing: null, total: 0 });
  }

  show(memory, total) {
    this.memory = memory;
    this.total = total;
    this.draw();
  }

  draw() {
    const focused = this.node.contains(document.activeElement) ? document.activeElement.id || document.activeElement.getAttribute("aria-label") : null;
    const scroll = this.node.querySelector(".panel-body")?.scrollTop ?? 0;
    const body = el("div", { class: "panel-body" }, this.memory && this.total ? this.parts() : this.empty());
    this.node.replaceChildren(el("div", { class: "panel-head" }, el("h2", {}, "Memory"), el("span", { class: "stretch" }),
      iconButton("gear", "Strategy and budget", () => this.actions.settings()),
      iconButton("close", "Hide memory", () => this.actions.close())), body);
    body.scrollTop = scroll;
    if (focused) (document.getElementById(focused) ?? [...this.node.querySelectorAll("[aria-label]")].find((node) => node.getAttribute("aria-label") === focused))?.focus();
  }

  empty() {
    return el("div", { class: "panel-empty" },
      el("div", { class: "sketch", "aria-hidden": "true" }, el("i"), el("i"), el("i"), el("b"), el("i"), el("i")),
      el("p", {}, "Here you see what the model remembers."),
      el("p", { class: "note" }, "It reads the latest turns word for word. Older ones move into the gist: short lines, each with the turn it comes from. You can correct, pin and drop them."));
  }

  parts() {
    const { memory } = this;
    return [
      budgetBar(memory.tokens),
      memory.notice && el("p", { class: "notice" }, memory.notice),
      this.pinned(),
      this.facts(),
      this.gist(),
      this.found(),
      this.verbatim(),
      this.versions(),
    ];
  }

  pinned() {
    const lines = this.memory.pinned.map(({ number, text }) => line("pinned", text, {
      tools: [iconButton("drop", `Unpin: ${text}`, () => this.change("DELETE", `pins/${number}`, undefined, "No longer pinned"))],
    }));
    const input = el("input", { id: "pin-text", class: "field small", placeholder: "Keep a line for good…", "aria-label": "A line to pin", dir: "auto", autocomplete: "off", maxlength: 2000, value: this.pinText ?? "" });
    input.addEventListener("input", () => (this.pinText = input.value));
    const form = el("form", { class: "pin-form", onsubmit: async (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (!text) return;
      if (await this.change("POST", "pins", { text }, "Pinned", () => (this.pinText = ""))) document.getElementById("pin-text").focus();
    } }, input, el("button", { class: "icon-button", "aria-label": "Pin it", title: "Pin it" }, icon("pin")));
    return section("Pinned", "", null, lines.length > 0 && el("ul", { class: "lines" }, lines), form);
  }

  facts() {
    const shown = this.memory.gist.lines.filter((known) => known.fact && !known.pinned);
    const texts = new Set(shown.map((known) => known.text));
    const rest = (this.memory.facts ?? []).filter((fact) => !texts.has(fact.text));
    if (!shown.length && !rest.length) return null;
    return section("Always-on facts", "", null,
      el("ul", { class: "lines" }, shown.map((known) => this.gistLine(known, "facts", known.fact))),
      rest.length > 0 && el("details", { class: "more" }, el("summary", {}, `${plural(rest.length, "other fact")}, not read now`),
        el("ul", { class: "lines" }, rest.map((fact) => line("rest", fact.text, {
          chips: turnChips([fact.turn], this.actions.goTo),
          note: fact.until ? `until turn ${fact.until}` : fact.in_gist === false ? `${fact.kind}, no room or still word for word` : fact.kind,
        })))));
  }

  gistLine(known, part, note = "") {
    return line(part, known.text, {
      chips: turnChips(known.turns, this.actions.goTo),
      note: note || (known.turns.length ? "" : "by hand"),
      tools: [
        iconButton("pin", `Pin: ${known.text}`, () => this.change("POST", "pins", { line: known.number }, "Pinned")),
        iconButton("drop", `Drop: ${known.text}`, () => this.change("DELETE", `gist/${known.number}`, undefined, "Dropped")),
      ],
    });
  }

  gist() {
    const { gist, next_gist_lines: next } = this.memory;
    const lines = gist.lines.filter((known) => !known.fact && !known.pinned);
    const covers = gist.covers ? `of ${turnsText(1, gist.covers)}` : "";
    if (this.editing !== null) return section("Gist", covers, null, this.editor());
    const edit = iconButton("edit", "Edit the gist", () => this.edit(lines));
    const coming = next?.filter((known) => !known.fact && !known.pinned && !lines.some(({ text }) => text === known.text)) ?? [];
    return section("Gist", covers, edit,
      lines.length ? el("ul", { class: "lines" }, lines.map((known) => this.gistLine(known, "gist")))
        : el("p", { class: "note" }, gist.covers ? "The gist is empty." : "No gist yet: the model still reads everything word for word."),
      coming.length > 0 && el("details", { class: "more", open: !lines.length }, el("summary", {}, "New in the next reply"),
        el("ul", { class: "lines" }, coming.map((known) => this.gistLine(known, "gist")))),
      gist.made_by && lines.length > 0 && el("p", { class: "note" }, gist.made_by === "hand" ? "Written by hand" : `Made by ${gist.made_by}`));
  }

  edit(lines) {
    this.editing = lines.map((known) => known.text).join("\n");
    this.draw();
    document.getElementById("gist-text").focus();
  }

  editor() {
    const area = el("textarea", { id: "gist-text", class: "field", dir: "auto", rows: "6", "aria-label": "Text of the gist", value: this.editing });
    area.addEventListener("input", () => (this.editing = area.value));
    const done = () => {
      this.editing = null;
      this.draw();
      this.node.querySelector("[aria-label='Edit the gist']")?.focus();
    };
    area.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), done()));
    const save = async () => {
      if (area.value.trim() && (await this.change("PUT", "gist", { text: area.value }, "Gist saved", () => (this.editing = null)))) this.node.querySelector("[aria-label='Edit the gist']")?.focus();
    };
    return el("div", { class: "stack" }, area,
      el("p", { class: "note" }, "Your text stays word for word; later turns are summed up after it."),
      el("div", { class: "row end" }, textButton("Cancel", done), textButton("Save gist", save, { class: "button filled" })));
  }

  found() {
    const { found } = this.memory;
    if (!found.length) return null;
    return section("Found for the last turn", "", null, el("ul", { class: "lines" }, found.map((match) =>
      line("found", match.text, { chips: turnChips([match.turn], this.actions.goTo), note: match.why }))));
  }

  verbatim() {
    const first = this.memory.boundary + 1;
    if (first > this.total) return null;
    return section("Word for word", "", null, el("p", { class: "line" }, el("span", { class: "mark verbatim", "aria-hidden": "true" }),
      textButton(turnsText(first, this.total).replace(/^t/, "T"), () => this.actions.goTo(first), { class: "link" })));
  }

  versions() {
    const { versions } = this.memory;
    if (!versions.length) return null;
    return el("details", { class: "part versions" }, el("summary", {}, plural(versions.length, "earlier gist")),
      el("ol", { class: "version-list" }, versions.map((version) => el("li", {},
        el("div", { class: "row" }, el("span", { class: "note" }, `${turnsText(1, version.covers)}, ${version.made_by === "hand" ? "by hand" : version.made_by}`), el("span", { class: "stretch" }),
          textButton("Go back", () => this.change("POST", "gist/back", { number: version.number }, "Went back to an earlier gist"), { class: "button small", "aria-label": `Go back to earlier gist ${version.number}` })),
        version.lines.map((text) => el("p", { dir: "auto" }, text))))));
  }

  /** Change the memory. `before`: what to do before it is shown anew. */
  async change(method, path, body, said, before) {
    const memory = await this.actions.change(method, path, body, said);
    if (!memory) return false;
    before?.();
    this.show(memory, this.total);
    return true;
  }
}
