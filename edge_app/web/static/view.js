// The live view: a WebSocket that sends images with their results, drawn onto two canvases.

import { $, app, headColor, rows } from "./app.js";
import { markDrawing } from "./drawing.js";
import { fit, path, prepare, scaleOf, tag } from "./pen.js";
import { ofCamera } from "./requests.js";

const TRAIL = 30; // length of a drawn track, in positions
const PACE_MS = 2000;
const RECONNECT_MS = 10000; // after this time without an image, a connection that still seems open is replaced

const trails = new Map(); // track id -> latest positions, 0..1
let socket = null;
let connected = true;
let receivedAt = performance.now();
let lastSeen = null; // when the latest image arrived, as a date
let shown = 0; // images since shownSince
let shownSince = null;

export function openLiveView() {
  if (socket) {
    const stalled = performance.now() - receivedAt > RECONNECT_MS && app.status.source.state === "running";
    if (stalled) socket.close();
    return;
  }
  const address = new URL(ofCamera("api/live"), document.baseURI);
  address.protocol = address.protocol === "https:" ? "wss:" : "ws:";
  receivedAt = performance.now();
  const opened = new WebSocket(address);
  socket = opened;
  opened.binaryType = "arraybuffer";
  let results = null;
  opened.onmessage = async ({ data }) => {
    if (typeof data === "string") {
      results = JSON.parse(data);
      return;
    }
    const imageResults = results; // the next text message may arrive during decoding
    const bitmap = await createImageBitmap(new Blob([data], { type: "image/jpeg" }));
    if (socket === opened) show(bitmap, imageResults);
    bitmap.close();
  };
  opened.onclose = () => {
    if (socket === opened) socket = null;
    showNotice();
  };
}

export function closeLiveView() {
  if (socket) socket.close();
}

// Whether the camera answers requests.
export function setConnected(value) {
  connected = value;
  if (!value) closeLiveView();
  showNotice();
}

// Grays the image and says why if it is not current.
function showNotice() {
  const since = lastSeen ? `; last image at ${lastSeen.toLocaleTimeString()}` : "";
  const source = app.status?.source.state;
  let text = "";
  if (!connected) text = `no connection to the camera${since}; reconnecting…`;
  else if (source && source !== "running") text = source === "off" ? "the camera is off by its schedule" : `camera ${source}${since}`;
  else if (!socket) text = `live view interrupted${since}; reconnecting…`;
  else if (!app.last) text = "waiting for the first image…";
  if ($("notice").textContent !== text) $("notice").textContent = text;
  $("stage").classList.toggle("lost", Boolean(text) && Boolean(app.last));
}

function show(bitmap, results) {
  for (const id of ["picture", "marks"]) fit($(id), bitmap.width, bitmap.height);
  $("picture").getContext("2d").drawImage(bitmap, 0, 0);
  receivedAt = performance.now();
  lastSeen = new Date();
  app.last = results;
  showNotice();
  updateTrails(results.result.heads);
  mark();
  showReadings();
  shown += 1;
  const now = performance.now();
  shownSince ??= now;
  if (now - shownSince > PACE_MS) {
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

// Draws results, the shapes of rules, and the shape that the user edits.
export function mark() {
  const canvas = $("marks");
  const pen = canvas.getContext("2d");
  const scale = scaleOf(canvas);
  pen.clearRect(0, 0, canvas.width, canvas.height);
  prepare(pen, scale);
  if (app.last && app.status) {
    for (const [name, head] of Object.entries(app.last.result.heads)) {
      if (!app.hidden.has(`head ${name}`)) markHead(pen, head, headColor(name), scale);
    }
    for (const shape of app.last.overlay) if (!app.hidden.has(`rule ${shape.rule}`)) markShape(pen, shape, scale);
  }
  markDrawing(pen, scale);
}

function markHead(pen, head, color, scale) {
  const [width, height] = [pen.canvas.width, pen.canvas.height];
  pen.strokeStyle = color;
  for (const { label, score, box, track_id: id, keypoints = [], corners, polygon, text } of head.detections || []) {
    const [x1, y1, x2, y2] = [box[0] * width, box[1] * height, box[2] * width, box[3] * height];
    if (polygon) fillPath(pen, polygon, color);
    if (corners) path(pen, corners, true);
    else pen.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const name = `${text ? `${text} ` : ""}${label}${id ? ` #${id}` : ""}`;
    const fits = pen.measureText(`${name} 0.00`).width <= x2 - x1; // else the labels of small boxes overlap
    tag(pen, fits ? `${name} ${score.toFixed(2)}` : name, x1, y1, color, scale);
    if (!fits) tag(pen, score.toFixed(2), x1, y2 + 15 * scale, color, scale);
    for (const [x, y] of keypoints) pen.fillRect(x * width - 2, y * height - 2, 4, 4);
    if (id && trails.has(id)) path(pen, trails.get(id), false);
  }
  for (const { label, score, polygon } of head.segments || []) {
    fillPath(pen, polygon, color);
    tag(pen, `${label} ${score.toFixed(2)}`, polygon[0][0] * width, polygon[0][1] * height, color, scale);
  }
}

function fillPath(pen, polygon, color) {
  path(pen, polygon, true);
  pen.fillStyle = `${color}40`;
  pen.fill();
}

function markShape(pen, { points, text, closed, alert }, scale) {
  if (!points.length) return; // a caption: listed under "Now"
  const color = alert ? "#ff5050" : "#e0e0e0";
  pen.strokeStyle = color;
  path(pen, points, closed);
  if (text) tag(pen, text, points[0][0] * pen.canvas.width, points[0][1] * pen.canvas.height, color, scale);
}

function showReadings() {
  const pairs = app.last.overlay.filter(({ text }) => text).map(({ rule, text }) => [rule, text.replace(`${rule}: `, "")]);
  for (const [name, head] of Object.entries(app.last.result.heads)) {
    const age = head.age_ms ? `, ${Math.round(head.age_ms)} ms old` : "";
    const best = head.classification?.[0];
    if (head.classification) pairs.push([name, (best ? `${best.label} ${best.score.toFixed(2)}` : "-") + age]);
    if (head.detections) pairs.push([name, `${head.detections.length} detections${age}`]);
    if (head.segments) pairs.push([name, `${head.segments.length} regions${age}`]);
  }
  rows($("readings"), pairs);
}
