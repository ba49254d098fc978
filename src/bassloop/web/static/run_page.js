/**
 * A run's page. Without this module, the page shows the state at the time of the request. The module updates it
 * live, and shows logs of any length.
 */

import { AutoScroll, COVERED, keepInPlace } from "./auto_scroll.js";
import { bindKeys, setUpHelp } from "./keyboard.js";
import { LineDecorations, showTimes } from "./line_decorations.js";
import { connect, UpdateBuffer } from "./live_feed.js";
import { cyclePreference, PREFERENCE_CHANGED, preference, setPreference, wrapsLines } from "./preferences.js";
import { Reader } from "./reader.js";
import { get } from "./requests.js";
import { LogSearch } from "./search.js";
import { StepList } from "./steps.js";
import { Timeline } from "./timeline.js";
import { formatDuration, serverNow, showRelativeTimes, syncClock } from "./times.js";

/** Milliseconds without scrolling after which the logs' boxes are resized. */
const SETTLE_DELAY = 160;

/** Milliseconds between updates of running durations, of the timeline, and of the logs. */
const TICK_INTERVAL = 250;
const TIMELINE_INTERVAL = 1000;
const DRAW_INTERVAL = 50;

/** Milliseconds after which a change counts as drawn, if the browser doesn't say so. */
const LONGEST_FRAME = 2000;

const TIMES_DELAY = 100;
const NOTICE_TIME = 2500;

const TIMES_LABELS = { none: "none", relative: "since the step started", absolute: "time of day" };

const part = (/** @type {string} */ id) => /** @type {any} */ (document.getElementById(id));
const page = /** @type {HTMLElement} */ (part("run"));
const run = /** @type {string} */ (page.dataset.run);
const isLive = () => page.dataset.live === "yes";
syncClock(Number(page.dataset.now));

const decorations = new LineDecorations(failingLines());
const autoScroll = new AutoScroll(part("follow"));

/** @type {import("./log_view.js").Callbacks} */
const logCallbacks = {
  linesAdded: (view, elements) => decorations.apply(view, elements),
  windowChanged: () => {
    search.highlight();
    updateTimesSoon();
  },
};

const steps = new StepList(part("steps"), run, logCallbacks, (step) => {
  if (!step.open) return;
  step.view.fillScreen();
  reader.outline(step).update();
});
const timeline = new Timeline(part("time"), () => steps.all, () => ({
  start: Math.min(Number(page.dataset.from), ...steps.all.map((step) => step.startedAt).filter((time) => !Number.isNaN(time))),
  end: Number(page.dataset.ended || NaN),
}));
const reader = new Reader(steps, decorations, autoScroll, { showInternal, notify });
const search = new LogSearch(part("find"), run, {
  show: (match) => reader.goToLine(match.vertex, match.line),
  position: () => ({ row: steps.current?.row ?? 0, line: reader.line }),
  views: () => steps.open.map((step) => step.view),
});

/* Live updates */

const updates = new UpdateBuffer();
let drawing = false;

/** Draw the buffered updates, one at a time. */
async function drawUpdates() {
  if (drawing) return;
  drawing = true;
  try {
    for (let update = updates.take(); update; update = updates.take()) {
      await draw(update);
      await new Promise((done) => setTimeout(done, DRAW_INTERVAL));
    }
  } finally {
    drawing = false; // After an error, which the console shows, the next update is drawn again.
  }
}

/** @param {any} update */
async function draw(update) {
  if (update.now) syncClock(update.now);
  if (update.vertexes.length || update.run) {
    await changeInPlace(() => {
      if (update.vertexes.length) updateSteps(update.vertexes);
      if (update.run) showRun(update.run);
    });
  }
  const { step } = autoScroll;
  for (const followed of [false, true]) {
    const logs = update.logs.filter((/** @type {any} */ log) => (log.row === step?.row) === followed);
    if (logs.length) await takeTurn(() => Promise.all(logs.map(appendLog)));
  }
  if (autoScroll.step !== step) await takeTurn(() => autoScroll.keepAtEnd());
  if (update.end) await changeInPlace(endRun);
}

/** Wait until changes are drawn. A hidden page isn't drawn. */
function nextFrame() {
  return new Promise((done) => {
    requestAnimationFrame(() => setTimeout(done));
    setTimeout(done, document.hidden ? 0 : LONGEST_FRAME);
  });
}

/** @type {Promise<unknown>} */
let turn = Promise.resolve();

/**
 * Change the page in a frame of its own: if something moved in the same frame in which the page scrolls to a log's
 * end, that would be a jump.
 * @param {() => unknown} change
 * @returns {Promise<unknown>}
 */
function takeTurn(change) {
  const result = turn.then(change).then(nextFrame);
  turn = result.catch(() => {});
  return result;
}

/** Change the page, and keep the reader's position. @param {() => void} change */
function changeInPlace(change) {
  return takeTurn(() => keepInPlace(topElement(), change));
}

/** Return what is at the top of the screen: a part of the page, a step, or a line. */
function topElement() {
  const isOnScreen = (/** @type {Element} */ element) => element.getBoundingClientRect().bottom > COVERED;
  const found = [...page.children].find(isOnScreen);
  if (found !== steps.box) return found;
  const step = steps.visible.find(({ element }) => isOnScreen(element));
  return (step?.open && step.view.topLine) || step?.element;
}

/** @param {any[]} changed */
function updateSteps(changed) {
  for (const step of changed) {
    const failed = steps.get(step.row)?.state === "bad";
    steps.update(step);
    if (step.state === "bad" && !failed) showFailure();
  }
  part("nothing").hidden = steps.all.length > 0;
  part("internal-switch").hidden = !steps.all.some((step) => step.internal);
  timeline.draw();
}

/** @param {any} update */
async function appendLog(update) {
  const step = steps.get(update.row);
  if (!step) return;
  const before = step.lines;
  await step.appendLog(update, autoScroll.active && autoScroll.step === step);
  if (step.internal && !step.visible) return;
  if (isLive()) autoScroll.linesAdded(step, Math.max(0, update.total - before));
  if (step.open) {
    step.view.fillScreen();
    reader.outline(step).update();
  }
}

/** @param {any} update */
function showRun(update) {
  part("head").className = `head ${update.colour}`;
  part("pill").textContent = update.sign;
  part("word").textContent = update.word;
  document.title = document.title.replace(/^\S+/, update.sign);
  page.dataset.started = String(Date.parse(update.started_at ?? update.created_at) / 1000);
  page.dataset.ended = update.ended_at ? String(Date.parse(update.ended_at) / 1000) : "";
  if (update.runner) {
    const runner = Object.assign(document.createElement("b"), { textContent: `${update.runner}’s runner` });
    const platform = Object.assign(document.createElement("code"), { textContent: update.platform ?? "" });
    part("runner").replaceChildren("on ", runner, " ", platform);
  }
  part("verdict").replaceChildren(...update.verdict.map(verdictPiece));
  part("verdict").hidden = update.verdict.length === 0;
  if (update.ended_at && update.state !== "succeeded") showFailure();
  updateDurations();
}

/** Return a piece of a trusted runner's result. @param {[string, string | null]} piece */
const verdictPiece = ([text, url]) =>
  url ? Object.assign(document.createElement("a"), { href: url, textContent: text }) : text;

let failureRequests = 0;

/** Fetch why the run, or one of its steps, has failed while the page was open. */
async function showFailure() {
  const request = (failureRequests += 1);
  const response = await get(`/runs/${encodeURIComponent(run)}/failure`);
  if (!response?.ok) return;
  const template = document.createElement("template");
  template.innerHTML = await response.text();
  if (request !== failureRequests) return;
  await changeInPlace(() => {
    part("failure").replaceWith(template.content);
    showRelativeTimes(part("failure"));
    showCopyButtons();
    decorations.failing = failingLines();
    scrollToKeyLine();
    for (const step of steps.open) decorations.apply(step.view, step.view.lines.children);
  });
}

/** Show the buttons that copy something, which do nothing without this module. */
function showCopyButtons() {
  for (const button of page.querySelectorAll("button[data-copy]")) /** @type {HTMLElement} */ (button).hidden = false;
}

/** Copy what a button is for. @param {MouseEvent} event */
async function copyText(event) {
  const button = /** @type {HTMLElement} */ (event.target).closest?.("button[data-copy]");
  if (!(button instanceof HTMLElement)) return;
  await navigator.clipboard.writeText(button.dataset.copy ?? "");
  notify("Copied");
}

/** Return the lines that the failure card is about. @returns {import("./line_decorations.js").LineRange} */
function failingLines() {
  const lines = part("failure").dataset.lines?.split(" ").map(Number);
  return lines ? { row: lines[0], from: lines[1], to: lines[2], anchor: lines[1] } : null;
}

/** Scroll the card's excerpt so that its first key line can be seen. */
function scrollToKeyLine() {
  const excerpt = /** @type {HTMLElement | null} */ (part("failure").querySelector(".excerpt"));
  const line = /** @type {HTMLElement | null | undefined} */ (excerpt?.querySelector(".failing"));
  if (!excerpt || !line) return;
  const below = line.offsetTop + line.offsetHeight - excerpt.clientHeight;
  if (below > 0) excerpt.scrollTop = below + excerpt.clientHeight / 2;
}

function endRun() {
  page.dataset.live = "no";
  for (const timer of timers) clearInterval(timer);
  autoScroll.end();
  for (const form of page.querySelectorAll("form.when-live")) form.remove();
  for (const form of page.querySelectorAll("form.when-ended")) form.hidden = false;
  for (const step of steps.all) {
    step.log.querySelector(".screen")?.replaceChildren();
    if (step.open) reader.outline(step).update(true);
  }
  updateDurations();
  // There is room for all bars now. Keep the position of what is on the screen.
  if (part("time").getBoundingClientRect().bottom <= COVERED) part("time").classList.remove("following");
  timeline.draw();
  updateActions();
}

/** Show the buttons for a run that has ended, such as the one for verification by a trusted runner. */
async function updateActions() {
  const response = await get(`/runs/${encodeURIComponent(run)}/actions`);
  if (!response?.ok) return;
  const template = document.createElement("template");
  template.innerHTML = await response.text();
  const formsByAction = (/** @type {ParentNode} */ root) =>
    new Map([...root.querySelectorAll("form")].map((form) => [form.getAttribute("action"), form]));
  const box = part("head").querySelector(".actions");
  const [shown, offered] = [formsByAction(box), formsByAction(template.content)];
  // A button that stays isn't replaced: it may have the focus, or be under the pointer.
  await changeInPlace(() => {
    for (const [action, form] of shown) if (!offered.has(action)) form.remove();
    for (const [action, form] of offered) if (!shown.has(action)) box.append(form);
  });
}

function updateDurations() {
  const ended = Number(page.dataset.ended || NaN);
  const duration = formatDuration((Number.isNaN(ended) ? serverNow() : ended) - Number(page.dataset.started));
  part("took").textContent = `${Number.isNaN(ended) ? "for" : "after"} ${duration}`;
  for (const step of steps.all) if (Number.isNaN(step.endedAt)) step.updateDuration();
}

/** Show a text for a moment. @param {string} text */
function notify(text) {
  const notice = part("notice");
  notice.textContent = text;
  notice.hidden = false;
  setTimeout(() => {
    if (notice.textContent === text) notice.hidden = true;
  }, NOTICE_TIME);
}

/* Scrolling and preferences */

let settleTimer = 0;
let frameRequested = false;

function onScroll() {
  clearTimeout(settleTimer);
  settleTimer = window.setTimeout(() => {
    for (const step of steps.open) step.view.settle();
  }, SETTLE_DELAY);
  if (frameRequested) return;
  frameRequested = true;
  requestAnimationFrame(() => {
    frameRequested = false;
    for (const step of steps.open) step.view.fillScreen();
  });
}

let timesTimer = 0;
function updateTimesSoon() {
  if (preference("times") === "none") return;
  clearTimeout(timesTimer);
  timesTimer = window.setTimeout(() => {
    for (const step of steps.open) showTimes(step.view, step.startedAt).catch(() => notify("The times could not be fetched"));
  }, TIMES_DELAY);
}

/** @param {boolean} shown */
function showInternal(shown) {
  part("show-internal").checked = shown;
  setPreference("internal", shown ? "shown" : "hidden");
}

window.addEventListener("scroll", onScroll, { passive: true });
window.addEventListener("resize", onScroll);
window.addEventListener("beforeprint", () => {
  for (const { log, view } of steps.open) {
    const numbers = /** @type {HTMLElement[]} */ ([...view.lines.querySelectorAll(".ln")]).map((each) => each.dataset.n);
    if (numbers.length < view.positions) log.dataset.printed = `Lines ${numbers[0]} to ${numbers.at(-1)} of ${view.total}`;
    else delete log.dataset.printed;
  }
});
document.addEventListener(PREFERENCE_CHANGED, () => {
  updateTimesSoon();
  onScroll();
});
part("show-internal").addEventListener("change", (/** @type {Event} */ event) => {
  showInternal(/** @type {HTMLInputElement} */ (event.target).checked);
});

page.addEventListener("click", copyText);
showCopyButtons();
bindKeys(
  {
    "?": setUpHelp(),
    "/": () => search.open(),
    l: () => reader.goToFailure(),
    n: () => search.step(1),
    N: () => search.step(-1),
    e: () => reader.goToError(1),
    E: () => reader.goToError(-1),
    j: () => reader.goToStep(1),
    k: () => reader.goToStep(-1),
    o: () => {
      if (steps.current) steps.current.open = !steps.current.open;
    },
    g: () => reader.goToEnd("start"),
    G: () => reader.goToEnd("end"),
    f: () => autoScroll.start(),
    t: () => notify(`Times: ${TIMES_LABELS[/** @type {keyof TIMES_LABELS} */ (cyclePreference("times"))]}`),
    w: () => setPreference("wrap", wrapsLines() ? "no" : "yes"),
    z: () => steps.current?.open && reader.outline(steps.current).toggleAll(),
    i: () => showInternal(preference("internal") === "hidden"),
    y: () => reader.copySelection(),
    d: () => notify(`Colours: ${cyclePreference("scheme")}`),
    "+": () => timeline.zoom("in"),
    "-": () => timeline.zoom("out"),
    0: () => timeline.zoom("all"),
    Escape: () => search.close(),
  },
  () => search.open(),
);

/* Start */

for (const step of steps.open) {
  if (decorations.failing?.row === step.row) step.view.keepVisible.push(decorations.failing.from, decorations.failing.to);
}
autoScroll.step = steps.visible.find((step) => step.state === "runs" && step.lines > 0) ?? null;
scrollToKeyLine();
reader.goToAnchor();
/** @type {number[]} */
const timers = [];
if (isLive()) {
  let lost = false;
  const whileSeen = (/** @type {() => void} */ action) => () => document.hidden || action();
  timers.push(setInterval(whileSeen(updateDurations), TICK_INTERVAL), setInterval(whileSeen(() => timeline.draw()), TIMELINE_INTERVAL));
  if (!location.hash) nextFrame().then(() => autoScroll.start());
  connect(`/runs/${encodeURIComponent(run)}/live`, {
    // A hidden page shows the run's state in its title, and needs no logs for that.
    hello: (hidden) => ({ logs: Object.fromEntries(steps.all.map((step) => [step.row, step.lines])), ...(hidden && { only: [] }) }),
    receive: (update) => {
      updates.add(update);
      drawUpdates();
      return Boolean(update.end);
    },
    connectionChanged: (seconds) => {
      if (seconds !== null) part("notice").textContent = `The connection is lost; trying again in ${Math.ceil(seconds)} s`;
      if (seconds !== null || lost) part("notice").hidden = seconds === null;
      lost = seconds !== null;
    },
  });
}
// Only now is the page at its position: before, it would fetch lines that nobody sees.
for (const step of steps.open) {
  step.view.fillScreen();
  reader.outline(step).update();
}
timeline.draw();
timeline.showFailed();
