// The web page: read-only. One WebSocket for the live view while the page is visible, and two small requests every 2 s.
"use strict";

const POLL_MS = 2000;
const HISTORY = 150; // polls that a plot shows: five minutes
const TRAIL = 30; // length of a drawn track, in positions
const COLORS = ["#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7"]; // Okabe and Ito
const $ = (id) => document.getElementById(id);

const hidden = new Set(); // heads and rules hidden in this view: "head NAME", "rule NAME"
const trails = new Map(); // track id -> latest positions, 0..1
const history = []; // data of the plots, one point per poll
const drawn = []; // corners of the user's shape, 0..1
let socket = null;
let last = null; // the latest {result, overlay}
let state = null;
let shown = 0; // pictures since shownSince
let shownSince = performance.now();
let shownEvents = "";

// ---- Requests

async function getJson(path) {
  const answer = await fetch(path, { signal: AbortSignal.timeout(8000) });
  if (answer.status === 401) {
    showLogin(true);
    throw new Error("not logged in");
  }
  if (!answer.ok) throw new Error(`${path}: ${answer.status}`);
  return answer.json();
}

async function poll() {
  if (document.visibilityState === "visible") {
    try {
      state = await getJson("api/status");
      const events = await getJson("api/events");
      showLogin(false);
      showState();
      showEvents(events);
      openLiveView();
    } catch (error) {
      $("headline").textContent = `no answer from the camera (${error.message})`;
      $("headline").className = "bad";
    }
  } else if (socket) {
    socket.close(); // no load on the camera while the page is hidden
  }
  setTimeout(poll, POLL_MS);
}

function openLiveView() {
  if (socket) return;
  const scheme = location.protocol === "https:" ? "wss:" : "ws:";
  socket = new WebSocket(`${scheme}//${location.host}${location.pathname}api/live`);
  socket.binaryType = "arraybuffer";
  let results = null;
  socket.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      results = JSON.parse(data);
      return;
    }
    const pictureResults = results; // the next text message may arrive during decoding
    const bitmap = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    show(bitmap, pictureResults);
    bitmap.close();
  };
  socket.onclose = () => {
    socket = null;
    if ($("login").hidden) $("notice").textContent = "live view interrupted; reconnecting…";
  };
}

function showLogin(visible) {
  $("login").hidden = !visible;
  $("page").hidden = visible;
  $("logout").hidden = visible || !document.body.dataset.token;
  if (visible && socket) socket.close();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("api/login", { method: "POST", body: $("token").value });
  $("login-error").textContent = answer.ok ? "" : await answer.text();
  if (!answer.ok) return;
  $("token").value = "";
  document.body.dataset.token = "accepted";
  showLogin(false);
});

$("logout").addEventListener("click", async () => {
  await fetch("api/logout", { method: "POST" });
  delete document.body.dataset.token;
  showLogin(true);
});

// ---- The live view

function show(bitmap, results) {
  for (const id of ["picture", "marks"]) {
    if ($(id).width !== bitmap.width || $(id).height !== bitmap.height) {
      $(id).width = bitmap.width;
      $(id).height = bitmap.height;
    }
  }
  $("picture").getContext("2d").drawImage(bitmap, 0, 0);
  $("notice").textContent = "";
  last = results;
  updateTrails(results.result.heads);
  mark();
  showReadings();
  shown += 1;
  const now = performance.now();
  if (now - shownSince > 2000) {
    $("pace").textContent = `${((shown * 1000) / (now - shownSince)).toFixed(1)} frames/s, frame ${results.result.frame}`;
    shown = 0;
    shownSince = now;
  }
}

function updateTrails(heads) {
  const present = new Set();
  for (const { detections = [] } of Object.values(heads)) {
    for (const { track_id: id, box } of detections) {
      if (!id) continue;
      present.add(id);
      const trail = trails.get(id) || [];
      trail.push([(box[0] + box[2]) / 2, (box[1] + box[3]) / 2]);
      trails.set(id, trail.slice(-TRAIL));
    }
  }
  for (const id of trails.keys()) if (!present.has(id)) trails.delete(id);
}

function mark() {
  const canvas = $("marks");
  const pen = canvas.getContext("2d");
  const scale = Math.max(1, canvas.width / Math.max(1, canvas.clientWidth)); // keeps text legible on a phone
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = 2 * scale;
  pen.font = `${Math.round(12 * scale)}px system-ui, sans-serif`;
  if (last) {
    for (const [name, head] of Object.entries(last.result.heads)) {
      const color = COLORS[Math.max(0, Object.keys(state.heads).indexOf(name)) % COLORS.length]; // the color of its toggle
      if (!hidden.has(`head ${name}`)) markHead(pen, head, color, scale);
    }
    for (const shape of last.overlay) if (!hidden.has(`rule ${shape.rule}`)) markShape(pen, shape, scale);
  }
  markDrawn(pen, scale);
}

function markHead(pen, head, color, scale) {
  const [width, height] = [pen.canvas.width, pen.canvas.height];
  pen.strokeStyle = color;
  for (const { label, score, box, track_id: id, keypoints = [] } of head.detections || []) {
    const [x1, y1, x2, y2] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
    pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const name = `${label}${id ? ` #${id}` : ""}`;
    const fits = pen.measureText(`${name} 0.00`).width <= x2 - x1; // else the labels of small boxes overlap
    tag(pen, fits ? `${name} ${score.toFixed(2)}` : name, x1, y1, color, scale);
    if (!fits) tag(pen, score.toFixed(2), x1, y2 + 15 * scale, color, scale);
    for (const [x, y] of keypoints) pen.fillRect(x * width - 2, y * height - 2, 4, 4);
    if (id && trails.has(id)) path(pen, trails.get(id), false);
  }
  for (const { label, score, polygon } of head.segments || []) {
    path(pen, polygon, true);
    pen.fillStyle = `${color}40`;
    pen.fill();
    tag(pen, `${label} ${score.toFixed(2)}`, polygon[0][0] * width, polygon[0][1] * height, color, scale);
  }
}

function markShape(pen, { points, text, closed, alert }, scale) {
  if (!points.length) return; // a caption: listed under "Now"
  const color = alert ? "#ff5050" : "#e0e0e0";
  pen.strokeStyle = color;
  path(pen, points, closed);
  if (text) tag(pen, text, points[0][0] * pen.canvas.width, points[0][1] * pen.canvas.height, color, scale);
}

function markDrawn(pen, scale) {
  if (!drawn.length) return;
  pen.strokeStyle = "#ff00ff";
  pen.fillStyle = "#ff00ff";
  path(pen, drawn, $("shape").value !== "line");
  for (const [x, y] of drawn) {
    pen.fillRect(x * pen.canvas.width - 3 * scale, y * pen.canvas.height - 3 * scale, 6 * scale, 6 * scale);
  }
}

function path(pen, points, closed) {
  pen.beginPath();
  for (const [x, y] of points) pen.lineTo(x * pen.canvas.width, y * pen.canvas.height);
  if (closed) pen.closePath();
  pen.stroke();
}

function tag(pen, text, x, y, color, scale) {
  const height = 15 * scale;
  const width = pen.measureText(text).width + 4 * scale;
  const left = Math.max(0, Math.min(x, pen.canvas.width - width));
  const top = y >= height ? y - height : y;
  pen.fillStyle = color;
  pen.fillRect(left, top, width, height);
  pen.fillStyle = "#000";
  pen.fillText(text, left + 2 * scale, top + 12 * scale);
}

// ---- State, readings, events

function showState() {
  const faults = Object.entries(state.faults).map(([name, value]) => `${name}: ${value.error || value.reason || value.state || ""}`);
  if (state.stuck) faults.push(`no progress: ${state.stuck}`);
  if (state.reload_error) faults.push(`new configuration rejected: ${state.reload_error}`);
  $("headline").textContent = faults.length ? faults.join(" · ") : `${state.model}: camera ${state.source.state}, ${state.backend}`;
  $("headline").className = faults.length ? "bad" : "";
  const queued = state.publish.sinks.reduce((sum, sink) => sum + sink.queued, 0);
  const reuse = state.reuse || {};
  rows($("health"), [
    ["frames", state.frames],
    ["frames dropped / skipped", `${state.source.dropped} / ${state.skipped}`],
    ["load level", state.rung],
    ["latency", unit(state.latency_s, "s")],
    ["memory", unit(state.resident_mb, "MB")],
    ["memory available", unit(state.available_mb, "MB")],
    ["temperature", unit(state.temperature_c, "°C")],
    ["messages queued / dropped", `${queued} / ${state.publish.lost}`],
    ...state.publish.sinks.map((sink) => [`sink ${sink.name}`, sink.last_error ? `${sink.sent} sent; ${sink.last_error}` : `${sink.sent} sent`]),
    ...("cache_bytes" in reuse ? [["feature cache", unit((reuse.cache_bytes / 1e6).toFixed(1), "MB")]] : []),
    ["backend rebuilds", state.rebuilt],
    ["uptime", unit(Math.round(state.uptime_s), "s")],
    ["version", state.version],
  ]);
  showToggles();
  recordHistory(queued, reuse);
  showPlots();
}

const unit = (value, name) => (value === null ? "unknown" : `${value} ${name}`);

function rows(table, pairs) {
  table.tBodies[0].replaceChildren(
    ...pairs.map(([name, value]) => {
      const row = document.createElement("tr");
      for (const text of [name, value]) row.insertCell().textContent = text;
      return row;
    }),
  );
}

function showToggles() {
  const heads = Object.keys(state.heads);
  const names = [...heads.map((name) => `head ${name}`), ...Object.keys(state.rules).map((name) => `rule ${name}`)];
  if ($("toggles").dataset.names === names.join()) return;
  $("toggles").dataset.names = names.join();
  $("toggles").replaceChildren(
    ...names.map((name, position) => {
      const label = document.createElement("label");
      const box = document.createElement("input");
      box.type = "checkbox";
      box.checked = !hidden.has(name);
      box.addEventListener("change", () => {
        if (box.checked) hidden.delete(name);
        else hidden.add(name);
        mark();
      });
      if (position < heads.length) label.style.setProperty("--color", COLORS[position % COLORS.length]);
      label.append(box, name.slice(5));
      return label;
    }),
  );
  $("shape-head").replaceChildren(...Object.keys(state.heads).map((name) => new Option(name, name, false, name === state.tracked)));
}

function showReadings() {
  const pairs = last.overlay.filter(({ text }) => text).map(({ rule, text }) => [rule, text.replace(`${rule}: `, "")]);
  for (const [name, head] of Object.entries(last.result.heads)) {
    const age = head.age_ms ? `, ${Math.round(head.age_ms)} ms old` : "";
    if (head.classification) pairs.push([name, (head.classification.length ? `${head.classification[0].label} ${head.classification[0].score.toFixed(2)}` : "-") + age]);
    if (head.detections) pairs.push([name, `${head.detections.length} detections${age}`]);
    if (head.segments) pairs.push([name, `${head.segments.length} regions${age}`]);
  }
  rows($("readings"), pairs);
}

function showEvents(events) {
  const key = JSON.stringify(events);
  if (key === shownEvents) return;
  shownEvents = key;
  const latest = new Map(); // event id -> its latest message, in order of the first ones
  for (const event of events) latest.set(event.event_id, event);
  const items = [...latest.values()].reverse().slice(0, 50).map((event) => {
    const item = document.createElement("li");
    item.dataset.event = event.event_id;
    if (!event.end) item.className = "open";
    if (event.rule_type === "runtime") item.classList.add("fault");
    const value = Object.entries(event.value).filter(([name]) => name !== "box").map(([name, text]) => `${name} ${typeof text === "object" ? JSON.stringify(text) : text}`);
    const when = document.createElement("span");
    when.className = "quiet";
    when.textContent = ` ${new Date(event.start).toLocaleTimeString()}${event.end ? ` – ${new Date(event.end).toLocaleTimeString()}` : ""}`;
    item.append(`${event.rule}: ${value.join(", ")}`, when);
    if (event.snapshot) {
      const picture = new Image();
      picture.loading = "lazy";
      picture.alt = "snapshot";
      picture.src = `api/snapshots/${encodeURIComponent(event.event_id)}`;
      item.append(picture);
    }
    return item;
  });
  if (items.length) $("events").replaceChildren(...items);
}

// ---- Plots: the last minutes, at most since the page was opened

const COMPUTED = { gate: "nothing", carried: "boxes moved", heads: "heads only", partial: "in part", dense: "all" };

function recordHistory(queued, reuse) {
  const counts = Object.fromEntries(Object.entries(COMPUTED).filter(([name]) => name in reuse).map(([name, text]) => [text, reuse[name]]));
  const before = history.length ? history[history.length - 1].counts : {};
  const since = Object.entries(counts).map(([name, count]) => [name, Math.max(0, count - (before[name] ?? count))]);
  const all = since.reduce((sum, [, count]) => sum + count, 0);
  history.push({
    counts,
    stages: Object.fromEntries(Object.entries(state.stages).map(([name, stage]) => [name, stage.p50_ms])),
    reuse: all ? Object.fromEntries(since.map(([name, count]) => [name, (100 * count) / all])) : {},
    memory: state.resident_mb === null ? {} : { memory: state.resident_mb },
    queue: { queued },
    temperature: state.temperature_c === null ? {} : { hottest: state.temperature_c },
  });
  if (history.length > HISTORY) history.shift();
}

function showPlots() {
  plot("stages", "ms");
  plot("reuse", "%", true);
  plot("memory", "MB");
  plot("queue", "messages");
  plot("temperature", "°C");
}

// One plot: one line per name, or stacked bands. Hidden while there is no data.
function plot(kind, unitName, stacked = false) {
  const figure = $(`plot-${kind}`);
  const points = history.map((point) => point[kind]);
  const names = [...new Set(points.flatMap(Object.keys))];
  figure.hidden = !names.length;
  if (figure.hidden) return;
  const canvas = figure.querySelector("canvas");
  const pen = canvas.getContext("2d");
  const top = stacked ? 100 : Math.max(1, ...points.flatMap(Object.values));
  const [bottom, height] = [canvas.height - 3, canvas.height - 6];
  const x = (i) => canvas.width - (points.length - 1 - i) * (canvas.width / Math.max(30, points.length - 1));
  const y = (value) => bottom - (value / top) * height;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = 2;
  const base = points.map(() => 0);
  names.forEach((name, position) => {
    pen.fillStyle = pen.strokeStyle = COLORS[position % COLORS.length];
    points.forEach((point, i) => {
      if (!(name in point)) return;
      if (stacked) pen.fillRect(x(i - 1), y(base[i] + point[name]), x(i) - x(i - 1) + 0.5, y(base[i]) - y(base[i] + point[name]));
      base[i] += point[name];
    });
    if (stacked) return;
    pen.beginPath();
    points.forEach((point, i) => name in point && pen.lineTo(x(i), y(point[name])));
    pen.stroke();
  });
  const latest = points[points.length - 1];
  const digits = kind === "queue" || top >= 100 ? 0 : 1;
  figure.querySelector(".legend").replaceChildren(
    ...names.flatMap((name, position) => {
      const [label, square] = [document.createElement("span"), document.createElement("span")];
      square.style.color = COLORS[position % COLORS.length];
      square.textContent = "■";
      label.append(square, ` ${name} ${name in latest ? latest[name].toFixed(digits) : "-"}`);
      return [label, "  "];
    }),
    `full scale ${top.toFixed(0)} ${unitName}`,
  );
}

// ---- Drawing

$("marks").addEventListener("pointerdown", (event) => {
  if (!$("drawing").open) return;
  event.preventDefault();
  const frame = $("marks").getBoundingClientRect();
  const point = [(event.clientX - frame.left) / frame.width, (event.clientY - frame.top) / frame.height];
  if ($("shape").value === "line" && drawn.length === 2) drawn.length = 0;
  drawn.push(point.map((value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000));
  showDrawn();
});

$("drawing").addEventListener("toggle", () => document.body.classList.toggle("drawing", $("drawing").open));
$("undo").addEventListener("click", () => (drawn.pop(), showDrawn()));
$("clear").addEventListener("click", () => ((drawn.length = 0), showDrawn()));
$("copy").addEventListener("click", () => {
  getSelection().selectAllChildren($("yaml")); // the clipboard API needs HTTPS or localhost; the selection works everywhere
  if (navigator.clipboard) navigator.clipboard.writeText($("yaml").textContent);
});
for (const id of ["shape", "shape-name", "shape-head"]) $(id).addEventListener("input", showDrawn);

function showDrawn() {
  const shape = $("shape").value;
  const points = `[${drawn.map(([x, y]) => `[${x}, ${y}]`).join(", ")}]`;
  const rule = `- {name: ${$("shape-name").value || "zone-1"}, type: ${shape}, head: ${$("shape-head").value}`;
  const enough = shape === "line" ? drawn.length === 2 : drawn.length >= 3;
  const texts = {
    zone: `rules:\n  ${rule}, polygon: ${points}}`,
    line: `rules:\n  ${rule}, line: ${points}}`,
    mask: `source:\n  mask:\n    - ${points}`,
  };
  $("yaml").textContent = enough ? texts[shape] : `${drawn.length} corners; ${shape === "line" ? "a line needs 2" : "at least 3 are needed"}`;
  mark();
}

showDrawn();
poll();
