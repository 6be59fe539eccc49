// Markdown to DOM nodes. Text becomes text nodes only; links lead to http and https only.
//
// The subset that replies use: paragraphs, headings, lists, quotes, code, tables, rules; bold, italics, strikethrough,
// code, links. Every pattern is tried at one place and runs once over the text, so that no input makes it slow.

import { copyText, el, iconButton } from "./dom.js";

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`]*)$/;
const HEADING = /^ {0,3}(#{1,6})\s+(.*)$/;
const RULE = /^ {0,3}([-*_])(?:\s*\1){2,}\s*$/;
const QUOTE = /^ {0,3}> ?(.*)$/;
const ITEM = /^(\s*)([-*+]|\d{1,9}[.)])\s+(.*)$/;
const DEEPEST = 6; // lists and quotes within each other

/** Source and kind of each block: [{kind, lines, ...}]. */
function blocks(text) {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const found = [];
  let at = 0;
  const take = (test) => {
    const start = at;
    while (at < lines.length && test(lines[at])) at++;
    return lines.slice(start, at);
  };
  while (at < lines.length) {
    const line = lines[at];
    let match;
    if (!line.trim()) at++;
    else if ((match = FENCE.exec(line))) {
      at++;
      const [, marks, language] = match;
      const code = take((next) => !(next.trim().startsWith(marks) && !next.trim().replaceAll(marks[0], "")));
      at++;
      found.push({ kind: "code", language, lines: code });
    } else if ((match = HEADING.exec(line))) {
      at++;
      found.push({ kind: "heading", level: match[1].length, lines: [match[2].replace(/\s#+\s*$/, "")] });
    } else if (RULE.test(line)) {
      at++;
      found.push({ kind: "rule", lines: [] });
    } else if (QUOTE.test(line)) {
      found.push({ kind: "quote", lines: take((next) => QUOTE.test(next)).map((next) => QUOTE.exec(next)[1]) });
    } else if ((match = ITEM.exec(line))) {
      const indent = match[1].length;
      const ordered = match[2].length > 1;
      const same = (next) => {
        const item = ITEM.exec(next);
        return !item || item[1].length > indent + 1 || item[2].length > 1 === ordered;
      };
      // A list goes on through blank lines where an item or an indented line follows.
      const items = take((next) => (next.trim() ? (ITEM.test(next) ? same(next) : /^\s{2,}/.test(next)) : goesOn(lines, at)));
      found.push({ kind: "list", ordered, start: parseInt(match[2]) || 1, indent, lines: items });
    } else if (line.includes("|") && isDivider(lines[at + 1])) {
      found.push({ kind: "table", lines: take((next) => next.includes("|")) });
    } else {
      const paragraph = [lines[at++]];
      paragraph.push(...take((next) => next.trim() && ![FENCE, HEADING, RULE, QUOTE, ITEM].some((start) => start.test(next))));
      found.push({ kind: "paragraph", lines: paragraph });
    }
  }
  return found;
}

function goesOn(lines, at) {
  const next = lines[at + 1];
  return next !== undefined && next.trim() !== "" && (ITEM.test(next) || /^\s{2,}/.test(next));
}

function isDivider(line) {
  return line !== undefined && line.includes("-") && line.includes("|") && /^[\s|:-]+$/.test(line);
}

function build(block, depth) {
  const text = block.lines.join("\n");
  switch (block.kind) {
    case "code": return codeBlock(text, block.language);
    case "heading": return el(`h${Math.min(6, block.level + 2)}`, { dir: "auto" }, inline(text));
    case "rule": return el("hr");
    case "quote": return el("blockquote", { dir: "auto" }, depth < DEEPEST ? buildAll(text, depth + 1) : text);
    case "list": return list(block, depth);
    case "table": return table(block.lines);
    default: return el("p", { dir: "auto" }, inline(text));
  }
}

function buildAll(text, depth) {
  return blocks(text).map((block) => build(block, depth));
}

function codeBlock(text, language) {
  return el("div", { class: "code" },
    el("div", { class: "code-head" }, el("span", {}, language.trim() || "code"), iconButton("copy", "Copy code", () => copyText(text))),
    el("pre", { tabindex: "0", dir: "ltr" }, el("code", {}, text)));
}

function list({ ordered, start, indent, lines }, depth) {
  if (depth >= DEEPEST) return el("p", { dir: "auto" }, lines.join("\n"));
  const items = [];
  for (const line of lines) {
    const match = ITEM.exec(line);
    if (match && match[1].length <= indent + 1) items.push([match[3]]);
    else items.at(-1).push(line.replace(/^\s{1,4}/, ""));
  }
  const built = items.map((item) => {
    const [first, ...rest] = blocks(item.join("\n"));
    if (!first) return el("li");
    const body = first.kind === "paragraph" ? inline(first.lines.join("\n")) : [build(first, depth + 1)];
    return el("li", {}, body, rest.map((block) => build(block, depth + 1)));
  });
  return el(ordered ? "ol" : "ul", { dir: "auto", start: ordered && start !== 1 ? start : null }, built);
}

function table([head, , ...rows]) {
  const cells = (line) => line.trim().replace(/^\||\|$/g, "").split("|").map((cell) => cell.trim());
  const names = cells(head);
  return el("div", { class: "table", tabindex: "0", role: "region", "aria-label": "Table" }, el("table", {},
    el("thead", {}, el("tr", {}, names.map((name) => el("th", { dir: "auto", scope: "col" }, inline(name))))),
    el("tbody", {}, rows.map((row) => el("tr", {}, cells(row).slice(0, names.length).map((cell) => el("td", { dir: "auto" }, inline(cell))))))));
}

const ESCAPED = /[\\`*_{}[\]()#+\-.!>~|]/;
const LINK = /\[([^[\]\n]{1,500})\]\(([^\s()]{1,2000}(?:\([^\s()]{0,200}\)[^\s()]{0,200})?)\)/y;
const ADDRESS = /https?:\/\/[^\s<>"']{1,2000}/y;
const MARKS = [["***", "strong", "em"], ["**", "strong"], ["__", "strong"], ["~~", "s"], ["*", "em"], ["_", "em"]];

/** Nodes of a run of text. */
export function inline(text, depth = 0, links = true) {
  const nodes = [];
  const missing = new Set(); // marks that have no end in the rest of the text, so that none is looked for twice
  let plain = "";
  let at = 0;
  const push = (node, length) => {
    if (plain) nodes.push(plain);
    plain = "";
    nodes.push(node);
    at += length;
  };
  while (at < text.length) {
    const next = text[at];
    if (next === "\\" && ESCAPED.test(text[at + 1] ?? "")) {
      plain += text[at + 1];
      at += 2;
    } else if (next === "\n") push(el("br"), 1);
    else if (next === "`" && code(text, at, missing, push)) continue;
    else if (links && next === "[" && link(text, at, depth, push)) continue;
    else if (links && next === "h" && address(text, at, push)) continue;
    else if ("*_~".includes(next) && depth < DEEPEST && emphasis(text, at, depth, links, missing, push)) continue;
    else {
      plain += next;
      at++;
    }
  }
  if (plain) nodes.push(plain);
  return nodes;
}

function code(text, at, missing, push) {
  const marks = /`+/y;
  marks.lastIndex = at;
  const [ticks] = marks.exec(text);
  if (missing.has(ticks)) return false;
  const end = text.indexOf(ticks, at + ticks.length);
  if (end < 0) {
    missing.add(ticks);
    return false;
  }
  push(el("code", { dir: "ltr" }, text.slice(at + ticks.length, end)), end + ticks.length - at);
  return true;
}

function link(text, at, depth, push) {
  LINK.lastIndex = at;
  const match = LINK.exec(text);
  const target = match && safe(match[2]);
  if (!target) return false;
  push(anchor(target, inline(match[1], depth + 1, false)), match[0].length);
  return true;
}

function address(text, at, push) {
  ADDRESS.lastIndex = at;
  if (at > 0 && /\w/.test(text[at - 1])) return false;
  const match = ADDRESS.exec(text);
  const shown = match && match[0].replace(/[.,;:!?)\]*_~`]+$/, "");
  const target = shown && safe(shown);
  if (!target) return false;
  push(anchor(target, shown), shown.length);
  return true;
}

function anchor(target, content) {
  return el("a", { href: target, target: "_blank", rel: "noopener noreferrer" }, content);
}

/** The address, where it is one of http or https; else nothing. */
function safe(target) {
  try {
    const { protocol, href } = new URL(target);
    return protocol === "http:" || protocol === "https:" ? href : "";
  } catch {
    return "";
  }
}

function emphasis(text, at, depth, links, missing, push) {
  for (const [mark, name, within] of MARKS) {
    if (!text.startsWith(mark, at) || missing.has(mark)) continue;
    const start = at + mark.length;
    if (/\s/.test(text[start] ?? " ")) continue;
    if (mark[0] === "_" && at > 0 && /\w/.test(text[at - 1])) continue; // as in snake_case
    const end = endOf(text, mark, start + 1);
    if (end < 0) {
      missing.add(mark);
      continue;
    }
    const nodes = inline(text.slice(start, end), depth + 1, links);
    push(el(name, {}, within ? el(within, {}, nodes) : nodes), end + mark.length - at);
    return true;
  }
  return false;
}

/** Where a mark ends a run: after no space, and not as a half of a double one. -1: nowhere. */
function endOf(text, mark, from) {
  for (let end = text.indexOf(mark, from); end >= 0; ) {
    const double = mark.length === 1 && text[end + 1] === mark;
    if (!double && !/\s/.test(text[end - 1])) return end;
    end = text.indexOf(mark, end + (double ? 2 : 1));
  }
  return -1;
}

/** Show a text in an element. Blocks that stayed the same keep their nodes, so that a streamed text can be selected. */
export function show(node, text) {
  const before = node.shownBlocks ?? [];
  const now = blocks(text).map((block) => ({ ...block, source: JSON.stringify(block) }));
  let same = 0;
  while (same < now.length && before[same]?.source === now[same].source) same++;
  while (node.childNodes.length > same) node.lastChild.remove();
  node.append(...now.slice(same).map((block) => build(block, 0)));
  node.shownBlocks = now;
}
