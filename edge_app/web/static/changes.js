// What can be drawn of an entry, and from drawings and fields to a change for /api/save, and to YAML.

import { shapeOf } from "./fields.js";

const MASK = { properties: { mask: { type: "array", items: { type: "array", items: [{ minimum: 0, maximum: 1, type: "number" }, { minimum: 0, maximum: 1, type: "number" }] } } } };
const TEXTS = { ignore: "ignored area", mask: "mask" };
export const GEOMETRY = { zone: "polygon", line: "line", count: "polygon", mask: "mask" };

// The schema of the options of an entry: see `target` of editing.js. options: the answer of /api/options, or null.
export function schemaOf({ what, name, kind }, options) {
  if (kind === "mask") return MASK;
  if (what === "camera") return { properties: { schedule: options.source.properties.schedule } };
  if (what === "head") return { properties: { ignore: options.heads[name].properties.ignore } };
  const drawn = { [GEOMETRY[kind]]: MASK.properties.mask };
  if (kind === "line") drawn.line = { items: [MASK.properties.mask.items, MASK.properties.mask.items] };
  return options?.rules?.[kind] || { properties: kind in GEOMETRY ? drawn : {} };
}

// The shapes of an entry, those that can be added included: {option, text, line, many, base, points}. base: the points
// in the file, null for a new one. Its own outline is the first.
export function partsOf(schema, inFile) {
  const parts = [];
  for (const [option, each] of Object.entries(schema.properties || {})) {
    const shape = shapeOf(each);
    if (!shape) continue;
    const made = (text, base, index) => ({ option, text, line: shape === "line", many: shape === "polygons", base, index, points: base || [] });
    const name = TEXTS[option] || option;
    if (shape !== "polygons") {
      parts.unshift(made(option, inFile?.[option] || null, 0));
      continue;
    }
    const present = inFile?.[option] || [];
    parts.push(...present.map((points, i) => made(`${name} ${i + 1}`, points, i)), made(`new ${name}`, null, present.length));
  }
  return parts;
}

// What the user has drawn, as options: only those that have changed.
export function drawnIn(parts) {
  const changed = {};
  for (const option of new Set(parts.filter((part) => !same(part.base || [], part.points)).map((part) => part.option))) {
    const own = parts.filter((part) => part.option === option);
    const points = own[0].many ? own.map((part) => part.points).filter((each) => each.length) : own[0].points;
    changed[option] = points.length ? points : null;
  }
  return changed;
}

// The merge patch of an entry, or null if nothing has changed. entry: {what, name, kind, head, masks}. changed: options.
export function changeOf({ what, name, kind, head, masks }, changed) {
  if (kind === "mask") {
    if (!("mask" in changed)) return null;
    const mask = changed.mask || [];
    return { mask: what === "new" ? [...masks, mask] : masks.map((each, i) => (i === Number(name) ? mask : each)) };
  }
  if (what === "new") return { rules: { [name]: { type: kind, ...(head ? { head } : {}), ...changed } } };
  if (!Object.keys(changed).length) return null;
  if (what === "camera") return { schedule: changed.schedule ?? [] };
  return { [what === "head" ? "heads" : "rules"]: { [name]: changed } };
}

const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

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
