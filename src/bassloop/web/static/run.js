// A run's page while the run goes on. Without this module the page is complete as of when it was loaded.
//
// The server says what is new: the run's state, vertexes, lines from where this page has got to, and the
// lines that a terminal may still rewrite ("screen"). Lines come as HTML that the server has escaped.

const article = document.getElementById("run");
const steps = document.getElementById("vertexes");
const followButton = document.getElementById("follow");
const MAX_SHOWN = 5000;
let following = article.dataset.live === "yes";
let pause = 500;

function durationText(seconds) {
  if (seconds < 10) return `${Math.max(seconds, 0).toFixed(1)} s`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${whole} s`;
  if (whole < 3600) return `${Math.floor(whole / 60)} min ${whole % 60} s`;
  return `${Math.floor(whole / 3600)} h ${Math.floor((whole % 3600) / 60)} min`;
}

function lineElement(row, number, html) {
  const line = document.createElement("div");
  line.className = "line";
  line.id = `v${row}-L${number}`;
  const link = document.createElement("a");
  link.className = "no";
  link.href = `#${line.id}`;
  link.dataset.no = number;
  link.setAttribute("aria-label", `line ${number}`);
  const text = document.createElement("span");
  text.className = "text";
  text.innerHTML = html;
  line.append(link, text);
  return line;
}

function stepElement(news) {
  let step = document.getElementById(`v${news.row}`);
  if (step) return step;
  step = document.createElement("details");
  step.id = `v${news.row}`;
  step.dataset.row = news.row;
  step.innerHTML = '<summary><span class="sign" aria-hidden="true"></span> <code></code> <span class="note"></span> <span class="took"></span></summary><div class="log" tabindex="0" role="log" data-total="0" data-start="0"></div>';
  steps.append(step);
  document.getElementById("nothing").hidden = true;
  return step;
}

function showStep(news) {
  const step = stepElement(news);
  const was = step.className;
  step.className = `vertex ${news.state}${news.hidden ? " hidden" : ""}`;
  step.querySelector(".sign").textContent = news.sign;
  step.querySelector("code").textContent = news.name;
  step.querySelector(".note").textContent = news.note;
  step.querySelector(".log").setAttribute("aria-label", `Log of ${news.name}`);
  step.dataset.began = news.started_at ?? "";
  step.dataset.ended = news.completed_at ?? "";
  if (was !== step.className) {
    if (news.open) step.open = true;
    else if (news.state === "ok" && was.includes("runs") && !following) step.open = step.open;
  }
  if (news.hidden) document.getElementById("hidden-switch").hidden = false;
  tickStep(step);
}

function showLog(news) {
  const step = document.getElementById(`v${news.row}`);
  if (!step) return;
  const log = step.querySelector(".log");
  for (const old of log.querySelectorAll(".screen")) old.remove();
  const fresh = document.createDocumentFragment();
  const have = Number(log.dataset.total);
  if (news.start > have) {
    const gap = document.createElement("p");
    gap.className = "cut";
    gap.textContent = `… ${news.start - have} lines are in the whole log`;
    fresh.append(gap);
  }
  news.lines.forEach((html, index) => {
    if (news.start + index >= have) fresh.append(lineElement(news.row, news.start + index + 1, html));
  });
  const total = Math.max(have, news.start + news.lines.length);
  log.dataset.total = total;
  news.screen.forEach((html, index) => {
    const line = lineElement(news.row, total + index + 1, html);
    line.classList.add("screen");
    fresh.append(line);
  });
  log.append(fresh);
  while (log.children.length > MAX_SHOWN) log.firstElementChild.remove();
  if (step.classList.contains("runs")) step.open = true;
}

function showRun(run) {
  document.getElementById("head").className = `head ${run.colour}`;
  document.querySelector(".pill").textContent = run.sign;
  document.getElementById("word").textContent = run.word;
  document.title = document.title.replace(/^\S+/, run.sign);
  article.dataset.began = Date.parse(run.started_at ?? run.created_at) / 1000;
  article.dataset.ended = run.ended_at ? Date.parse(run.ended_at) / 1000 : "";
  if (run.runner) {
    const runner = document.getElementById("runner");
    runner.textContent = `· on ${run.runner}’s runner ${run.platform ?? ""}`;
  }
  if (run.ended_at && run.state !== "succeeded" && run.message) {
    const why = document.getElementById("why");
    why.querySelector("pre").textContent = run.message;
    why.hidden = false;
  }
  tick();
}

let ahead = 0;
function now() { return Date.now() / 1000 + ahead; }

function tickStep(step) {
  if (!step.dataset.began) return;
  const ended = step.dataset.ended ? Date.parse(step.dataset.ended) / 1000 : now();
  if (step.classList.contains("cached")) return;
  step.querySelector(".took").textContent = durationText(ended - Date.parse(step.dataset.began) / 1000);
}

function tick() {
  const ended = article.dataset.ended ? Number(article.dataset.ended) : now();
  if (article.dataset.live === "yes" || article.dataset.ended)
    document.getElementById("took").textContent = (article.dataset.ended ? "after " : "for ") + durationText(ended - Number(article.dataset.began));
  for (const step of steps.children) if (step.dataset.began && !step.dataset.ended) tickStep(step);
}

function scrollAlong() {
  if (following) window.scrollTo({ top: document.documentElement.scrollHeight });
}

function connect() {
  const address = new URL(`/runs/${article.dataset.run}/live`, location.href);
  address.protocol = address.protocol.replace("http", "ws");
  const socket = new WebSocket(address);
  socket.onopen = () => {
    pause = 500;
    const logs = {};
    for (const step of steps.children) logs[step.dataset.row] = Number(step.querySelector(".log").dataset.total);
    socket.send(JSON.stringify({ logs }));
  };
  socket.onmessage = (event) => {
    const news = JSON.parse(event.data);
    if (news.now) ahead = news.now - Date.now() / 1000;
    if (news.vertexes) news.vertexes.forEach(showStep);
    if (news.logs) news.logs.forEach(showLog);
    if (news.run) showRun(news.run);
    if (news.end) {
      article.dataset.live = "no";
      followButton.hidden = true;
      for (const line of steps.querySelectorAll(".screen")) line.remove();
    }
    scrollAlong();
  };
  socket.onclose = (event) => {
    if (article.dataset.live === "no" || event.code === 4404) return;
    setTimeout(connect, pause * (0.5 + Math.random()));
    pause = Math.min(pause * 2, 15000);
  };
}

steps.addEventListener("click", async (event) => {
  const button = event.target.closest(".earlier");
  if (!button) return;
  const log = button.closest(".log");
  const row = button.closest("details").dataset.row;
  const stop = Number(log.dataset.start);
  const start = Math.max(0, stop - 1000);
  const answer = await fetch(`/runs/${article.dataset.run}/vertexes/${row}/lines?start=${start}&stop=${stop}`);
  if (!answer.ok) return;
  const got = await answer.json();
  const fresh = document.createDocumentFragment();
  got.lines.forEach((html, index) => fresh.append(lineElement(row, start + index + 1, html)));
  const cut = log.querySelector(".cut");
  cut.after(fresh);
  log.dataset.start = start;
  if (start === 0) cut.remove();
});

document.getElementById("show-hidden").addEventListener("change", (event) => {
  steps.classList.toggle("all", event.target.checked);
});

function openTarget() {
  const found = /^#(v\d+)(-L(\d+))?$/.exec(location.hash);
  const step = found && document.getElementById(found[1]);
  if (!step) return;
  following = false;
  step.open = true;
  document.getElementById(location.hash.slice(1))?.scrollIntoView({ block: "center" });
}

window.addEventListener("hashchange", openTarget);
window.addEventListener("wheel", () => {
  const end = document.documentElement.scrollHeight - window.innerHeight - window.scrollY < 80;
  following = end && article.dataset.live === "yes";
  followButton.hidden = following || article.dataset.live !== "yes";
}, { passive: true });
followButton.addEventListener("click", () => {
  following = true;
  followButton.hidden = true;
  scrollAlong();
});

openTarget();
if (article.dataset.live === "yes") {
  connect();
  setInterval(tick, 250);
} else if (!location.hash) {
  const failed = document.querySelector(".vertex.bad");
  if (failed && failed.getBoundingClientRect().top > window.innerHeight * 0.7)
    failed.scrollIntoView({ block: "start" });
}
