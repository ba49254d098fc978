/**
 * A run's page, put together. Without this module the page is complete as of when it was made: here it
 * becomes live, and a log as long as it is.
 */

import { Backlog } from "./backlog.js";
import { duration, now, setClock } from "./clock.js";
import { Follower } from "./follow.js";
import { listen, toggleKeys } from "./keys.js";
import { lineOf } from "./lines.js";
import { follow } from "./live.js";
import { CHANGED, choose, chooseNext, look, wraps } from "./looks.js";
import { Marks } from "./marks.js";
import { Outline } from "./outline.js";
import { hashOf, placeOf } from "./places.js";
import { Search } from "./search.js";
import { stamp } from "./stamps.js";
import { Steps } from "./steps.js";
import { Timeline } from "./timeline.js";

/** Milliseconds without scrolling after which the reader rests. */
const REST = 160;
const TICK = 250;

/** Milliseconds from one drawing of what is new to the next. */
const DRAW = 50;

const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const page = /** @type {HTMLElement} */ (part("run"));
const run = /** @type {string} */ (page.dataset.run);
const live = () => page.dataset.live === "yes";
setClock(Number(page.dataset.now));

const broke = page.dataset.place?.split(" ").map(Number);
const marks = new Marks(broke ? { row: broke[0], from: broke[1], to: broke[2], first: broke[1] } : null);
const follower = new Follower(part("follow"), part("word"));
/** @type {Map<number, Outline>} */
const outlines = new Map();

/** @type {import("./logview.js").Looks} */
const looks = {
  added: (view, elements) => marks.dress(view, elements),
  moved: () => {
    search.mark();
    stampSoon();
  },
};

const steps = new Steps(part("vertexes"), run, looks, (step) => {
  if (!step.open) return;
  step.view.look();
  outlineOf(step).update();
});
const timeline = new Timeline(part("time"), () => steps.all, () => ({
  began: Math.min(Number(page.dataset.from), ...steps.all.map((step) => step.began).filter((at) => !Number.isNaN(at))),
  ended: Number(page.dataset.ended || NaN),
}));
const search = new Search(part("find"), run, {
  show: async (match) => {
    const step = steps.get(match.vertex);
    if (!step) return;
    follower.leave();
    if (step.internal && look("internal") === "hidden") showInternal(true);
    step.open = true;
    await step.view.show(match.line);
  },
  place: () => ({ row: steps.current?.row ?? 0, line: readingLine() }),
  views: () => openSteps().map((step) => step.view),
});

function openSteps() {
  return steps.shown.filter((step) => step.open);
}

/** @param {import("./steps.js").Step} step */
function outlineOf(step) {
  const known = outlines.get(step.row) ?? new Outline(step.view);
  outlines.set(step.row, known);
  return known;
}

/** The line that is at the middle of the screen, of the step that is being read. */
function readingLine() {
  const step = steps.current;
  if (!step?.open) return 0;
  const middle = window.innerHeight / 2;
  const line = [...step.view.lines.children].find((element) => element.getBoundingClientRect().bottom >= middle);
  return line ? lineOf(line) : 0;
}

/* What the address names */

/** Go to the place in the address. @returns {boolean} whether there is one */
function goToPlace() {
  const place = placeOf(location.hash);
  const step = place && steps.get(place.row);
  marks.chosen = null;
  if (!place || !step) return false;
  follower.leave();
  if (step.internal) showInternal(true);
  if (place.from === undefined || place.to === undefined) {
    step.reveal();
  } else {
    marks.chosen = { row: place.row, from: place.from, to: place.to, first: place.from };
    step.open = true;
    step.view.wanted.push(place.from, place.to);
    step.view.show(place.from);
  }
  dressAll();
  return true;
}

function dressAll() {
  for (const step of openSteps()) marks.dress(step.view, /** @type {HTMLElement[]} */ ([...step.view.lines.children]));
}

window.addEventListener("hashchange", goToPlace);
steps.box.addEventListener("click", (event) => {
  const number = /** @type {Element} */ (event.target).closest(".no");
  if (!number || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const line = /** @type {HTMLElement} */ (number.parentElement);
  const row = Number(/** @type {HTMLElement} */ (line.closest(".vertex")).dataset.row);
  if (line.parentElement?.className === "screen") return;
  history.replaceState(null, "", marks.choose(row, lineOf(line), event.shiftKey));
  follower.leave();
  dressAll();
});

/** Copy the lines that are marked, as text. */
async function copyMarked() {
  const lines = marks.chosen;
  const step = lines && steps.get(lines.row);
  if (!lines || !step) return;
  const html = await step.view.source.lines(lines.from, Math.min(lines.to + 1, lines.from + 10_000));
  const text = document.createElement("template");
  const copied = html.map((line) => {
    text.innerHTML = line;
    return text.content.textContent;
  });
  await navigator.clipboard.writeText(`${copied.join("\n")}\n`);
  say(`Copied ${copied.length} line${copied.length === 1 ? "" : "s"}`);
}

/* What is new */

const backlog = new Backlog();
let drawing = false;

/** Draw what has come, one thing after the other, at most so often. */
async function drawNews() {
  if (drawing) return;
  drawing = true;
  for (let news = backlog.take(); news; news = backlog.take()) {
    await draw(news);
    await new Promise((done) => setTimeout(done, DRAW));
  }
  drawing = false;
}

/** @param {any} news */
async function draw(news) {
  if (news.now) setClock(news.now);
  for (const vertex of news.vertexes) steps.update(vertex);
  if (news.vertexes.length) {
    part("nothing").hidden = steps.all.length > 0;
    part("internal-switch").hidden = !steps.all.some((step) => step.internal);
    timeline.draw();
  }
  await Promise.all(news.logs.map(growLog));
  if (news.run) showRun(news.run);
  if (news.end) endRun();
}

/** @param {any} news */
async function growLog(news) {
  const step = steps.get(news.row);
  if (!step) return;
  const known = step.lines;
  await step.grow(news, follower.following && follower.step === step);
  if (step.internal && !step.shown) return;
  if (live()) follower.arrived(step, Math.max(0, news.total - known));
  if (step.open) {
    step.view.look();
    outlineOf(step).update();
  }
}

/** @param {any} news */
function showRun(news) {
  part("head").className = `head ${news.colour}`;
  part("pill").textContent = news.sign;
  part("word").textContent = news.word;
  document.title = document.title.replace(/^\S+/, news.sign);
  page.dataset.began = String(Date.parse(news.started_at ?? news.created_at) / 1000);
  page.dataset.ended = news.ended_at ? String(Date.parse(news.ended_at) / 1000) : "";
  if (news.runner) {
    const bold = Object.assign(document.createElement("b"), { textContent: `${news.runner}’s runner` });
    const platform = Object.assign(document.createElement("code"), { textContent: news.platform ?? "" });
    part("runner").replaceChildren("· on ", bold, " ", platform);
  }
  if (news.ended_at && news.state !== "succeeded" && news.message) {
    part("why-text").textContent = news.message;
    part("why").hidden = false;
    linkToBroken();
  }
  tick();
}

/** Where it broke, for a run that ended while somebody looked on. */
async function linkToBroken() {
  const step = steps.all.find((each) => each.state === "bad");
  if (!step) return;
  const outline = outlineOf(step);
  await outline.update(true);
  const line = outline.errorAfter(Math.max(-1, step.lines - 2000), 1) ?? step.lines - 1;
  if (line < 0) return;
  const link = /** @type {HTMLAnchorElement} */ (part("why-link"));
  link.href = hashOf(step.row, line);
  link.textContent = `line ${line + 1}`;
  link.hidden = false;
}

function endRun() {
  page.dataset.live = "no";
  clearInterval(ticking);
  follower.end();
  for (const form of page.querySelectorAll("form.passing")) form.remove();
  for (const step of steps.all) {
    step.log.querySelector(".screen")?.replaceChildren();
    if (step.open) outlineOf(step).update(true);
  }
  tick();
  timeline.draw();
}

function tick() {
  const ended = Number(page.dataset.ended || NaN);
  const took = duration((Number.isNaN(ended) ? now() : ended) - Number(page.dataset.began));
  part("took").textContent = `${Number.isNaN(ended) ? "for" : "after"} ${took}`;
  for (const step of steps.all) if (Number.isNaN(step.ended)) step.tick();
}

/** @param {string} text what to say for a moment */
function say(text) {
  const box = part("lost");
  box.textContent = text;
  box.hidden = false;
  setTimeout(() => {
    if (box.textContent === text) box.hidden = true;
  }, 2500);
}

/* What the reader does */

let resting = 0;
let looking = false;
window.addEventListener("scroll", lookAround, { passive: true });
window.addEventListener("resize", lookAround);

function lookAround() {
  clearTimeout(resting);
  resting = window.setTimeout(() => {
    for (const step of openSteps()) step.view.settle();
  }, REST);
  if (looking) return;
  looking = true;
  requestAnimationFrame(() => {
    looking = false;
    for (const step of openSteps()) step.view.look();
  });
}

let stamping = 0;
function stampSoon() {
  if (look("times") === "none") return;
  clearTimeout(stamping);
  stamping = window.setTimeout(() => {
    for (const step of openSteps()) stamp(step.view, step.began).catch(() => say("The times could not be fetched"));
  }, 100);
}

document.addEventListener(CHANGED, () => {
  stampSoon();
  lookAround();
});

/** @param {boolean} shown */
function showInternal(shown) {
  part("show-internal").checked = shown;
  choose("internal", shown ? "shown" : "hidden");
}
part("show-internal").addEventListener("change", (/** @type {Event} */ event) => {
  showInternal(/** @type {HTMLInputElement} */ (event.target).checked);
});

/** @param {1 | -1} way */
function goToStep(way) {
  const { shown, current } = steps;
  const at = shown.indexOf(current) + way;
  const step = shown[Math.max(0, Math.min(at, shown.length - 1))];
  follower.leave();
  step?.summary.focus({ preventScroll: true });
  step?.element.scrollIntoView({ block: "start" });
}

/** @param {1 | -1} way */
async function goToError(way) {
  const { shown, current } = steps;
  follower.leave();
  let line = marks.chosen?.row === current?.row ? (marks.chosen?.from ?? 0) : readingLine();
  const rest = way > 0 ? shown.slice(shown.indexOf(current)) : shown.slice(0, shown.indexOf(current) + 1).reverse();
  for (const step of rest.filter((each) => each.lines)) {
    const outline = outlineOf(step);
    await outline.update(true);
    const error = outline.errorAfter(step === current ? line : way > 0 ? -1 : Infinity, way);
    if (error === undefined) continue;
    step.open = true;
    marks.chosen = { row: step.row, from: error, to: error, first: error };
    history.replaceState(null, "", hashOf(step.row, error));
    await step.view.show(error);
    dressAll();
    return;
  }
  say(way > 0 ? "No further error" : "No earlier error");
}

const keys = /** @type {HTMLDialogElement} */ (part("keys"));
part("help").hidden = false;
part("help").addEventListener("click", () => toggleKeys(keys));
listen(
  {
    "?": () => toggleKeys(keys),
    "/": () => search.open(),
    n: () => search.step(1),
    N: () => search.step(-1),
    e: () => goToError(1),
    E: () => goToError(-1),
    j: () => goToStep(1),
    k: () => goToStep(-1),
    o: () => {
      if (steps.current) steps.current.open = !steps.current.open;
    },
    g: () => steps.current?.open && (follower.leave(), steps.current.view.show(0)),
    G: () => steps.current?.open && (follower.leave(), steps.current.view.show(steps.current.lines - 1, "end")),
    f: () => follower.follow(),
    t: () => say(`Times: ${{ none: "none", relative: "since the step began", absolute: "of the clock" }[chooseNext("times")]}`),
    w: () => choose("wrap", wraps() ? "no" : "yes"),
    z: () => steps.current?.open && outlineOf(steps.current).foldAll(),
    i: () => showInternal(look("internal") === "hidden"),
    y: () => copyMarked(),
    d: () => say(`Colours: ${chooseNext("scheme")}`),
    "+": () => timeline.zoom("in"),
    "-": () => timeline.zoom("out"),
    0: () => timeline.zoom("all"),
    Escape: () => search.close(),
  },
  () => search.open(),
);

/* From the beginning on */

for (const step of openSteps()) {
  const { view } = step;
  if (marks.broke?.row === step.row) view.wanted.push(marks.broke.from, marks.broke.to);
  view.look();
  outlineOf(step).update();
}
follower.step = steps.shown.find((step) => step.state === "runs" && step.lines > 0) ?? null;
if (!goToPlace() && !live() && marks.broke) {
  const step = steps.get(marks.broke.row);
  const line = step?.view.element(marks.broke.from)?.getBoundingClientRect();
  if (step && !(line && line.bottom < window.innerHeight)) step.view.show(marks.broke.from);
}
if (live()) {
  if (!location.hash) follower.follow();
  follow(run, {
    places: () => Object.fromEntries(steps.all.map((step) => [step.row, step.lines])),
    heard: (news) => {
      backlog.add(news);
      drawNews();
    },
    lost: (seconds) => {
      part("lost").hidden = seconds === null;
      if (seconds !== null) part("lost").textContent = `The connection is lost; trying again in ${Math.ceil(seconds)} s`;
    },
  });
}
const ticking = live() ? setInterval(tick, TICK) : 0;
if (live()) setInterval(() => live() && timeline.draw(), 1000);
timeline.draw();
