// The shape that the user edits in the image: its corners by mouse, touch and keyboard.

import { $, say } from "./app.js";
import { path } from "./pen.js";
import { mark } from "./view.js";

const REACH_PX = { mouse: 10, pen: 14, touch: 22 }; // how near a corner a press takes hold of it
const STEP = 0.01; // of the cursor, for each arrow key; with Shift ten times as much
const UNDO_STEPS = 100;

// points: corners, 0..1. line: whether it has two ends instead of an outline. onDisk: the corners of the file, if an
// edit on disk conflicts with the shape. changed: called after every change.
export const shape = { points: [], line: false, onDisk: null, active: false, changed: () => {} };
let earlier = []; // lists of corners before each change
let held = -1; // the corner that is being moved
let cursor = null; // of the keyboard, 0..1

export function setShape(points, line) {
  [shape.points, shape.line, shape.onDisk, earlier, held] = [points.map((point) => [...point]), line, null, [], -1];
  mark();
}

export function setActive(active) {
  shape.active = active;
  document.body.classList.toggle("drawing", active);
  $("marks").tabIndex = active ? 0 : -1;
  mark();
}

export function undoCorner() {
  if (!earlier.length) return say("no change of a corner to undo");
  shape.points = earlier.pop();
  held = -1;
  done(`undone; ${count()}`);
}

export function clearCorners() {
  change(() => (shape.points = []));
  done("all corners removed");
}

// Replaces all corners, as typed by the user.
export function replaceCorners(points) {
  change(() => (shape.points = points));
  done(count());
}

export function markDrawing(pen, scale) {
  const [width, height] = [pen.canvas.width, pen.canvas.height];
  if (shape.onDisk) {
    pen.strokeStyle = "#ffffff";
    pen.setLineDash([6 * scale, 4 * scale]);
    path(pen, shape.onDisk, !shape.line);
    pen.setLineDash([]);
  }
  if (!shape.active) return;
  pen.strokeStyle = pen.fillStyle = "#ff00ff";
  if (shape.points.length) path(pen, shape.points, !shape.line);
  shape.points.forEach(([x, y], i) => {
    const size = (i === held ? 6 : 4) * scale;
    pen.fillRect(x * width - size, y * height - size, 2 * size, 2 * size);
  });
  if (cursor && document.activeElement === pen.canvas) {
    const [x, y, arm] = [cursor[0] * width, cursor[1] * height, 10 * scale];
    for (const [color, thickness] of [["#000000", 4], ["#ffffff", 2]]) {
      [pen.strokeStyle, pen.lineWidth] = [color, thickness * scale];
      pen.beginPath();
      pen.moveTo(x - arm, y);
      pen.lineTo(x + arm, y);
      pen.moveTo(x, y - arm);
      pen.lineTo(x, y + arm);
      pen.stroke();
    }
  }
}

const rounded = (value) => Math.round(Math.min(1, Math.max(0, value)) * 1000) / 1000;
const count = () => `${shape.points.length} corners`;

function change(apply) {
  earlier = [...earlier.slice(-UNDO_STEPS + 1), shape.points.map((point) => [...point])];
  apply();
}

function done(text) {
  say(text);
  shape.changed();
  mark();
}

function addCorner(point) {
  change(() => {
    if (shape.line && shape.points.length >= 2) shape.points = []; // a third press begins a new line
    shape.points.push(point);
  });
  done(`corner ${shape.points.length} at ${point.join(", ")}`);
}

// The corner within reach of a point, or -1. reach: in CSS pixels.
function cornerAt([x, y], reach) {
  const frame = $("marks").getBoundingClientRect();
  const distances = shape.points.map(([cx, cy]) => Math.hypot((cx - x) * frame.width, (cy - y) * frame.height));
  const nearest = distances.indexOf(Math.min(...distances));
  return distances[nearest] <= reach ? nearest : -1;
}

function pointOf(event) {
  const frame = $("marks").getBoundingClientRect();
  return [rounded((event.clientX - frame.left) / frame.width), rounded((event.clientY - frame.top) / frame.height)];
}

// ---- Mouse and touch

$("marks").addEventListener("pointerdown", (event) => {
  if (!shape.active || event.button !== 0 || !event.isPrimary) return;
  event.preventDefault();
  $("marks").focus({ preventScroll: true });
  $("marks").setPointerCapture(event.pointerId);
  const point = pointOf(event);
  cursor = point;
  held = cornerAt(point, REACH_PX[event.pointerType] ?? REACH_PX.mouse);
  if (held >= 0) {
    change(() => {});
  } else {
    addCorner(point);
    held = shape.points.length - 1; // it follows the finger until it is lifted
  }
  mark();
});

$("marks").addEventListener("pointermove", (event) => {
  if (held < 0 || !$("marks").hasPointerCapture(event.pointerId)) return;
  shape.points[held] = cursor = pointOf(event);
  shape.changed();
  mark();
});

for (const name of ["pointerup", "pointercancel"]) {
  $("marks").addEventListener(name, () => {
    held = -1;
    mark();
  });
}

// ---- Keyboard: arrows move a cursor; Enter adds a corner, or takes and drops the corner under the cursor

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

$("marks").addEventListener("keydown", (event) => {
  if (!shape.active) return;
  const step = STEP * (event.shiftKey ? 10 : 1);
  if (event.key in ARROWS) moveCursor(ARROWS[event.key], step);
  else if (event.key === "Enter" || event.key === " ") placeCorner();
  else if (event.key === "Delete" || event.key === "Backspace") removeCorner();
  else if (event.key === "z" && (event.ctrlKey || event.metaKey)) undoCorner();
  else return;
  event.preventDefault();
});

for (const name of ["focus", "blur"]) {
  $("marks").addEventListener(name, () => {
    cursor ||= [0.5, 0.5];
    if (name === "blur") held = -1;
    mark();
  });
}

function moveCursor([dx, dy], step) {
  const [x, y] = cursor || [0.5, 0.5];
  cursor = [rounded(x + dx * step), rounded(y + dy * step)];
  if (held >= 0) {
    shape.points[held] = cursor;
    shape.changed();
  }
  say(`${held >= 0 ? `corner ${held + 1}` : "cursor"} at ${cursor.join(", ")}`);
  mark();
}

function placeCorner() {
  cursor ||= [0.5, 0.5];
  if (held >= 0) {
    held = -1;
    done("corner dropped");
    return;
  }
  const corner = cornerAt(cursor, REACH_PX.mouse);
  if (corner < 0) {
    addCorner(cursor);
    return;
  }
  change(() => {});
  held = corner;
  cursor = shape.points[corner];
  say(`corner ${corner + 1} taken; move it with the arrow keys, drop it with Enter`);
  mark();
}

// Removes the corner that is held or under the cursor, else the last one.
function removeCorner() {
  if (!shape.points.length) return;
  const under = held >= 0 ? held : cornerAt(cursor || [0.5, 0.5], REACH_PX.mouse);
  change(() => shape.points.splice(under >= 0 ? under : shape.points.length - 1, 1));
  held = -1;
  done(`corner removed; ${count()}`);
}
