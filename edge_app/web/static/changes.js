// From a form to a change for /api/save, and to YAML. Without state: the form and the file are parameters.

import { element } from "./app.js";

// The option that holds the corners, by type of rule.
export const GEOMETRY = { zone: "polygon", line: "line", count: "polygon", mask: "mask" };

const LABELS = { name: "labels", text: "Only labels (a, b, …)", hint: "all" };
const SCORE = { name: "min_score", text: "Least score", min: 0, max: 1, step: 0.01 };
const AREAS = [
  { name: "min_area", text: "Smallest box, 0 to 1 of image", min: 0, max: 1, step: 0.001 },
  { name: "max_area", text: "Largest box, 0 to 1 of image", min: 0, max: 1, step: 0.001 },
];
const DIRECTION = { name: "direction", text: "Direction", choices: ["", "both", "in", "out"] };

// The options of a form: by type of rule, and of a head.
const OPTIONS = {
  zone: [LABELS, SCORE, { name: "dwell_s", text: "Dwell, seconds", min: 0, step: 0.1 }],
  line: [LABELS, SCORE, DIRECTION],
  count: [LABELS, SCORE, { name: "at_least", text: "Event from this number", min: 1, step: 1 }],
  stationary: [LABELS, SCORE, { name: "after_s", text: "Stays at least, seconds", min: 0, step: 0.1 }],
  scene: [SCORE, { name: "after_s", text: "Lasts at least, seconds", min: 0, step: 0.1 }],
  reading: [SCORE],
  head: [{ name: "score", text: "Score", min: 0, max: 1, step: 0.01 }, LABELS, ...AREAS],
};

// Builds the fields of a form, filled from the options in the file. An empty field is an option that is not set.
export function formOf(kind, options, container) {
  container.replaceChildren(
    ...(OPTIONS[kind] || []).map((option) => {
      const value = options[option.name];
      const text = value === undefined || value === null ? "" : Array.isArray(value) ? value.join(", ") : String(value);
      const field = option.choices ? element("select", {}, ...option.choices.map((choice) => new Option(choice || "default", choice))) : element("input");
      if (!option.choices && option !== LABELS) Object.assign(field, { type: "number", inputMode: "decimal", min: option.min, max: option.max ?? "", step: option.step });
      field.value = text;
      field.dataset.option = option.name;
      if (option.hint) field.placeholder = option.hint;
      return element("label", { className: "field" }, option.text, field);
    }),
  );
}

// The values of a form: option -> number, text, list of labels, or null if the field is empty.
export function optionsOf(container) {
  const values = {};
  for (const field of container.querySelectorAll("[data-option]")) {
    const text = field.value.trim();
    if (field.dataset.option === LABELS.name) values.labels = text ? text.split(",").map((label) => label.trim()).filter(Boolean) : null;
    else if (!text) values[field.dataset.option] = null;
    else values[field.dataset.option] = field.type === "number" ? Number(text) : text;
  }
  return values;
}

// The merge patch that makes the file equal to the form; null if they are equal. entry: what is edited; `base` is its
// part of the file when the form was filled: only what differs from it is sent, so that other edits stay.
export function changeOf(entry, points, options) {
  const { what, name, kind, base, head, masks } = entry;
  if (kind === "mask") {
    if (base && same(base, points)) return null;
    return { mask: what === "new" ? [...masks, points] : masks.map((mask, i) => (i === Number(name) ? points : mask)) };
  }
  const before = base || {};
  const changed = Object.fromEntries(Object.entries(options).filter(([option, value]) => !equal(before[option], value)));
  if (kind in GEOMETRY && !same(before[GEOMETRY[kind]] || [], points)) changed[GEOMETRY[kind]] = points.length ? points : null;
  if (what === "head") return Object.keys(changed).length ? { heads: { [name]: changed } } : null;
  if (what === "new") return { rules: { [name]: { type: kind, head, ...changed } } };
  return Object.keys(changed).length ? { rules: { [name]: changed } } : null;
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

// Whether an option of the file equals a field: an option that is not set equals an empty field.
const equal = (inFile, field) => same(inFile ?? null, field) || (field === null && Array.isArray(inFile) && !inFile.length);

// Corners as typed, "x y, x y": a list of points, or null if the text is something else.
export function corners(text) {
  const points = text.split(/[,;\n]/).filter((part) => part.trim()).map((part) => part.trim().split(/\s+/).map(Number));
  const valid = points.every((point) => point.length === 2 && point.every((value) => value >= 0 && value <= 1));
  return valid ? points : null;
}

// What to add to config.yaml for a new entry, or how many corners are missing.
export function yamlOf(kind, name, head, points) {
  const enough = kind === "line" ? points.length === 2 : points.length >= 3;
  if (!enough) return `${points.length} corners; ${kind === "line" ? "a line needs 2" : "at least 3 are needed"}`;
  const list = `[${points.map(([x, y]) => `[${x}, ${y}]`).join(", ")}]`;
  if (kind === "mask") return `source:\n  mask:\n    - ${list}`;
  return `rules:\n  - {name: ${name || `${kind}-1`}, type: ${kind}, head: ${head}, ${GEOMETRY[kind]}: ${list}}`;
}
