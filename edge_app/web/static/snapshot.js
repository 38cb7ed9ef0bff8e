// A snapshot in full size, with the box of its event and the shape of its rule; and the clip of an event.

import { $, app } from "./app.js";
import { fit, path, prepare, scaleOf, tag } from "./pen.js";
import { ofCamera } from "./requests.js";
import { sentence, when } from "./words.js";

const SAME_ASPECT = 0.02; // relative; a snapshot of another shape is a crop
let events = [];
let position = 0;

// event: the one to show. others: those that the buttons go through, newest first.
export function showSnapshot(event, others) {
  events = others;
  position = Math.max(0, others.findIndex((other) => other.event_id === event.event_id));
  show();
  $("snapshot").showModal();
}

function show() {
  const event = events[position];
  $("snapshot-text").textContent = `${sentence(event)} · ${when(event)}`;
  $("snapshot-newer").disabled = position === 0;
  $("snapshot-older").disabled = position === events.length - 1;
  showClip(event.snapshot ? null : event.clip);
  $("snapshot-play").hidden = !event.snapshot || !event.clip;
  $("snapshot-stage").hidden = !event.snapshot;
  if (!event.snapshot) return;
  const image = $("snapshot-image");
  image.alt = `snapshot: ${sentence(event)}`;
  image.onload = () => drawBox(event);
  image.onerror = () => ($("snapshot-text").textContent = `${sentence(event)} · the snapshot was deleted`);
  image.src = ofCamera(`api/snapshots/${encodeURIComponent(event.event_id)}`);
}

// Plays a clip in place of the snapshot; null: none.
function showClip(name) {
  const video = $("snapshot-video");
  video.pause();
  video.hidden = !name;
  if (!name) return video.removeAttribute("src");
  $("snapshot-stage").hidden = true;
  $("snapshot-play").hidden = true;
  video.src = ofCamera(`api/clips/${encodeURIComponent(name)}`);
  return video.play().catch(() => {}); // a browser that does not allow it shows its button
}

function drawBox(event) {
  const [image, canvas] = [$("snapshot-image"), $("snapshot-marks")];
  fit(canvas, image.naturalWidth, image.naturalHeight);
  image.parentElement.style.setProperty("--aspect", image.naturalWidth / image.naturalHeight); // its size: page.css
  const pen = canvas.getContext("2d");
  pen.clearRect(0, 0, canvas.width, canvas.height);
  if (!showsWholeFrame(image)) return;
  const scale = scaleOf(canvas);
  prepare(pen, scale);
  pen.strokeStyle = "#e0e0e0";
  for (const shape of app.last?.overlay || []) if (shape.rule === event.rule && shape.points.length) path(pen, shape.points, shape.closed);
  if (!event.value.box) return;
  const [x1, y1, x2, y2] = event.value.box;
  pen.strokeStyle = "#e69f00";
  path(pen, [[x1, y1], [x2, y1], [x2, y2], [x1, y2]], true);
  const score = event.value.score === undefined ? "" : ` ${event.value.score.toFixed(2)}`;
  tag(pen, `${event.value.label ?? event.rule}${score}`, x1 * canvas.width, y1 * canvas.height, "#e69f00", scale);
}

function showsWholeFrame(image) {
  if (app.status?.snapshot_what === "crop") return false;
  const resolution = app.last?.result.resolution;
  if (!resolution) return true;
  const [width, height] = resolution;
  return Math.abs((image.naturalWidth * height) / (image.naturalHeight * width) - 1) < SAME_ASPECT;
}

function move(step) {
  position = Math.min(events.length - 1, Math.max(0, position + step));
  show();
}

$("snapshot-newer").addEventListener("click", () => move(-1));
$("snapshot-older").addEventListener("click", () => move(1));
$("snapshot-play").addEventListener("click", () => showClip(events[position].clip));
$("snapshot").addEventListener("close", () => showClip(null));
$("snapshot-close").addEventListener("click", () => $("snapshot").close());
$("snapshot").addEventListener("keydown", (event) => {
  if (event.target === $("snapshot-video")) return; // its arrow keys seek
  if (event.key === "ArrowLeft") move(-1);
  if (event.key === "ArrowRight") move(1);
});
$("snapshot").addEventListener("click", (event) => event.target === $("snapshot") && $("snapshot").close()); // beside it
