// A list of runs, kept as it stands: the server sends the rows that changed, and the order of all.
import { sayAgo } from "./ago.js";

const box = document.getElementById("runs");
const list = box.querySelector("ol.runs");
const nothing = document.getElementById("nothing");
const most = Number(box.dataset.most || 50);
let wait = 500;

function row(html) {
  const holder = document.createElement("template");
  holder.innerHTML = html;
  return holder.content.querySelector("li");
}

function show({ order, rows }) {
  const known = new Map([...list.children].map((item) => [item.dataset.run, item]));
  const focused = document.activeElement?.closest?.("li.run")?.dataset.run;
  let place = null;
  for (const id of order.slice(0, most).reverse()) {
    let item = known.get(id);
    if (rows[id]) {
      const fresh = row(rows[id]);
      if (item && id !== focused) item.replaceWith(fresh);
      if (!item || id !== focused) item = fresh;
    }
    if (!item) continue;
    if (item.nextElementSibling !== place || item.parentNode !== list) list.insertBefore(item, place);
    place = item;
    known.delete(id);
  }
  for (const gone of known.values()) gone.remove();
  sayAgo(list);
  if (nothing) nothing.hidden = list.children.length > 0;
}

function follow() {
  const address = new URL(box.dataset.live, location.href);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  const socket = new WebSocket(address);
  socket.onmessage = (event) => { wait = 500; show(JSON.parse(event.data)); };
  socket.onclose = () => {
    wait = Math.min(wait * 2, 30000);
    setTimeout(follow, wait * (0.5 + Math.random() / 2));
  };
}

if (box.dataset.live) follow();
