// The receipt of a reply: what was sent, line by line.

import { el, iconButton, plural } from "./dom.js";
import { budgetBar, PARTS, turnChips } from "./memory.js";

const GROUPS = { system: "Instructions", pinned: PARTS.pinned, fact: "Always-on facts", gist: PARTS.gist, found: PARTS.found, verbatim: PARTS.verbatim, last: "The turn that was answered" };
const COLOURS = { fact: "facts", system: "rest", last: "verbatim" };

/** The content of a receipt. */
export function receiptParts(receipt, goTo) {
  const groups = new Map();
  for (const sent of receipt.lines ?? []) groups.set(sent.part, [...(groups.get(sent.part) ?? []), sent]);
  return [
    budgetBar({ used: receipt.tokens, budget: receipt.budget, parts: partTokens(receipt) }),
    receipt.notice && el("p", { class: "notice" }, receipt.notice),
    [...groups].map(([part, lines]) => el("section", { class: "part" },
      el("div", { class: "part-head" }, el("h3", {}, GROUPS[part] ?? part), el("span", { class: "note" }, plural(lines.reduce((sum, sent) => sum + (sent.tokens || 0), 0), "token"))),
      el("ul", { class: "lines" }, lines.map((sent) => el("li", { class: "line" },
        el("span", { class: `mark ${COLOURS[part] ?? part}`, "aria-hidden": "true" }),
        el("div", { class: "line-body" }, el("span", { class: "line-text", dir: "auto" }, sent.text),
          el("span", { class: "line-foot" }, turnChips(sent.turns ?? [], goTo), el("span", {}, [sent.why, sent.tokens && plural(sent.tokens, "token")].filter(Boolean).join(" · "))))))))),
    receipt.not_sent?.turns > 0 && el("p", { class: "note" }, `${plural(receipt.not_sent.turns, "turn")} not sent: ${receipt.not_sent.reason}`),
    el("dl", { class: "figures" }, figures(receipt).map(([name, value]) => [el("dt", {}, name), el("dd", {}, value)])),
    receipt.prompt && el("details", { class: "more" }, el("summary", {}, "The prompt, letter by letter"), el("pre", { class: "prompt", tabindex: "0" }, receipt.prompt)),
  ];
}

function partTokens(receipt) {
  const parts = { pinned: 0, facts: 0, gist: 0, found: 0, verbatim: 0 };
  for (const sent of receipt.lines ?? []) {
    const part = sent.part === "fact" ? "facts" : sent.part;
    if (part in parts) parts[part] += sent.tokens || 0;
  }
  return parts;
}

const ENDS = { end: "the model was done", stop: "a stop text", length: "the longest reply allowed", cancel: "stopped" };

function figures({ strategy, model, usage, ended, seconds }) {
  const time = (part) => (seconds?.[part] === undefined ? null : `${seconds[part].toFixed(2)} s`);
  return [
    ["Strategy", strategy],
    ["Model", model],
    ["Prompt", usage && `${plural(usage.prompt, "token")}${usage.cached ? `, ${usage.cached} of them kept from before` : ""}`],
    ["Reply", usage && plural(usage.written, "token")],
    ["Ended by", ENDS[ended] ?? ended],
    ["Time", seconds && [["context", "to choose"], ["reply", "to answer"], ["memory", "to remember"]].map(([part, name]) => time(part) && `${time(part)} ${name}`).filter(Boolean).join(", ")],
  ].filter(([, value]) => value);
}

/** Show a receipt in the panel. */
export function showReceipt(node, receipt, number, { goTo, close, hide }) {
  const back = iconButton("back", "Back to the memory", close);
  node.replaceChildren(
    el("div", { class: "panel-head" }, back, el("h2", {}, `Receipt of turn ${number}`), el("span", { class: "stretch" }), iconButton("close", "Hide memory", hide)),
    el("div", { class: "panel-body" }, el("p", { class: "note" }, "What the model read before it wrote this answer."), receiptParts(receipt, goTo)));
  back.focus();
}
