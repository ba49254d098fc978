/**
 * Lines of a log as elements, and their anchors: `#v3` is a step, `#v3-L120` a line of its log,
 * `#v3-L120-L140` a range of lines. The server has escaped the lines' HTML.
 */

/** Characters of HTML above which a line is shortened until somebody expands it. */
const LONG_LINE = 20_000;
const SHOWN_PART = 8_000;

/** Characters after which the server cuts a line; the raw log has all of it. */
const CUT_LINE = 64 * 1024;

const ANCHOR = /^#v(\d{1,15})(?:-L(\d{1,12})(?:-L(\d{1,12}))?)?$/;

/**
 * @param {number} row the step's
 * @param {number} line from 0
 * @param {string} html
 * @returns {HTMLElement}
 */
export function lineElement(row, line, html) {
  const element = document.createElement("div");
  element.className = "line";
  element.id = `v${row}-L${line + 1}`;
  const number = document.createElement("a");
  number.className = "ln";
  number.href = `#${element.id}`;
  number.dataset.n = String(line + 1);
  number.setAttribute("aria-label", `line ${line + 1}`);
  element.append(number, textElement(row, html));
  return element;
}

/** @param {number} row @param {string} html */
function textElement(row, html) {
  const text = document.createElement("span");
  text.className = "text";
  if (html.length <= LONG_LINE) {
    text.innerHTML = html;
    return text;
  }
  const template = document.createElement("template");
  template.innerHTML = html;
  const plain = template.content.textContent ?? "";
  text.textContent = plain.slice(0, SHOWN_PART);
  const button = document.createElement("button");
  button.type = "button";
  button.className = "show-all";
  const cut = plain.length >= CUT_LINE;
  const length = plain.length.toLocaleString("en");
  button.textContent = cut ? `… show ${length} characters` : `… show the whole line, ${length} characters`;
  button.addEventListener("click", () => {
    text.replaceChildren(template.content);
    if (!cut) return;
    const link = document.createElement("a");
    link.className = "raw-log";
    link.href = `${location.pathname}/vertexes/${row}/raw`;
    link.textContent = "raw log";
    text.append(" … the rest is in the ", link);
  });
  text.append(button);
  return text;
}

/** Return the number of a line's element, from 0. @param {Element} element */
export function lineOf(element) {
  return Number(element.id.slice(element.id.lastIndexOf("L") + 1)) - 1;
}

/** Return the HTML that the server sent for a line. @param {Element} element */
export function htmlOf(element) {
  return element.querySelector(".text")?.innerHTML ?? "";
}

/**
 * Return a part of a line's text as a range of the document, or null if the line is shorter.
 * @param {Element} element
 * @param {number} from in UTF-16 code units
 * @param {number} to
 * @returns {Range | null}
 */
export function rangeIn(element, from, to) {
  const text = element.querySelector(".text");
  if (!text) return null;
  const range = document.createRange();
  const walker = document.createTreeWalker(text, NodeFilter.SHOW_TEXT);
  let offset = 0;
  let started = false;
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const length = node.textContent?.length ?? 0;
    if (!started && from < offset + length) {
      range.setStart(node, from - offset);
      started = true;
    }
    if (started && to <= offset + length) {
      range.setEnd(node, to - offset);
      return range;
    }
    offset += length;
  }
  return null;
}

/** Parse an anchor into lines from 0, `to` being the last one. @param {string} hash @returns {{ row: number, from?: number, to?: number } | null} */
export function parseAnchor(hash) {
  const match = ANCHOR.exec(hash);
  if (!match) return null;
  const row = Number(match[1]);
  if (!match[2]) return { row };
  const lines = [match[2], match[3] ?? match[2]].map((number) => Math.max(0, Number(number) - 1));
  return { row, from: Math.min(...lines), to: Math.max(...lines) };
}

/** @param {number} row @param {number} from @param {number} [to] */
export function formatAnchor(row, from, to = from) {
  return to === from ? `#v${row}-L${from + 1}` : `#v${row}-L${from + 1}-L${to + 1}`;
}
