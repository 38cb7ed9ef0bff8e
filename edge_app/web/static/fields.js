// Fields of a form, built from the JSON schemas of options, and the values that the user has typed into them.

import { element } from "./app.js";

const WORDS = {
  labels: "Only labels (a, b, …)",
  min_score: "Least score",
  score: "Score",
  dwell_s: "Dwell, seconds",
  direction: "Direction",
  at_least: "Event from this number",
  after_s: "Lasts at least, seconds",
  min_area: "Smallest box, 0 to 1 of image",
  max_area: "Largest box, 0 to 1 of image",
  aspect: "Width / height: least, greatest",
  schedule: "Schedule",
  enabled: "Switched on",
};
const FIRST = ["labels", "min_score", "score", "dwell_s", "direction", "at_least", "after_s", "min_area", "max_area", "schedule"];
const SCHEDULE_HINT = "mon-fri 07:00-19:00; sat 9:00-12:00";
const WINDOW = /^(.*?)\s*\b(\d{1,2}:\d{2})\s*-\s*(\d{1,2}:\d{2})$/;

const isNumber = (schema) => schema?.type === "number" || schema?.type === "integer";
const isText = (schema) => schema?.type === "string" || (Array.isArray(schema?.type) && schema.type.includes("string"));
const isPair = (schema) => Array.isArray(schema?.items) && schema.items.length === 2 && schema.items.every(isNumber);
const isPoint = (schema) => isPair(schema) && schema.items.every((item) => item.minimum === 0 && item.maximum === 1);
const isPolygon = (schema) => schema?.type === "array" && isPoint(schema.items);
const isLine = (schema) => Array.isArray(schema?.items) && schema.items.length === 2 && schema.items.every(isPoint);
const isSchedule = (schema) => schema?.type === "array" && Boolean(schema.items?.properties?.days);

// The schema without `null`, if only one other kind of value is possible.
function bare(schema) {
  const kinds = (schema.anyOf || [schema]).filter((each) => each.type !== "null");
  return kinds.length === 1 ? kinds[0] : schema;
}

// How an option is drawn: "line", "polygon", "polygons", or null if it is not.
export function shapeOf(schema) {
  const inner = bare(schema);
  if (isLine(inner)) return "line";
  if (isPolygon(inner)) return "polygon";
  return inner.type === "array" && isPolygon(inner.items) ? "polygons" : null;
}

// The kind of field of an option.
function kindOf(schema) {
  const inner = bare(schema);
  if (inner.enum) return "choice";
  if (inner.type === "boolean") return "switch";
  if (isNumber(inner)) return "number";
  if (isSchedule(inner)) return "schedule";
  if (inner.type === "array" && isText(inner.items)) return "list";
  if (isPair(inner) || (inner.type === "array" && isNumber(inner.items))) return "numbers";
  return isText(inner) ? "text" : "json";
}

const asWindow = (window) => `${[window.days ?? "mon-sun"].flat().join(", ")} ${window.from ?? "00:00"}-${window.to ?? "24:00"}`;
const SHOW = {
  schedule: (value) => value.map(asWindow).join("; "),
  list: (value) => (value.some((item) => String(item).includes(",")) ? JSON.stringify(value) : value.join(", ")),
  numbers: (value) => value.join(", "),
  json: (value) => JSON.stringify(value),
};
const split = (text, separator) => text.split(separator).map((part) => part.trim()).filter(Boolean);
const READ = {
  schedule: (text) => split(text, ";").map((part) => {
    const [, days, from, to] = WINDOW.exec(part) || [];
    if (!from) throw new Error(`found '${part}'; expected days and times, such as ${SCHEDULE_HINT}`);
    return { days: days || "mon-sun", from, to };
  }),
  list: (text) => (text.startsWith("[") ? JSON.parse(text) : split(text, ",")),
  numbers: (text) => split(text, ",").map((part) => (part && Number.isFinite(Number(part)) ? Number(part) : part)),
  number: (text) => (Number.isFinite(Number(text)) ? Number(text) : text),
  switch: (text) => text === "true",
  json: (text) => JSON.parse(text),
};

// Builds the fields of all options of a schema that are not drawn, filled from the options in the file. An empty field
// is an option that is not set. heads: names to choose from. skip: options without a field.
export function showFields(schema, options, container, heads = [], skip = []) {
  const shown = Object.entries(schema?.properties || {}).filter(([name, each]) => !skip.includes(name) && !shapeOf(each));
  const required = schema?.required || [];
  const main = shown.filter(([name]) => FIRST.includes(name) || (required.includes(name) && name !== "head"));
  main.sort(([a], [b]) => FIRST.indexOf(a) - FIRST.indexOf(b));
  const others = shown.filter((each) => !main.includes(each));
  const build = ([name, each]) => field(name, each, options[name], { heads, required: required.includes(name) });
  const more = element("details", { className: "wide" }, element("summary", {}, "More options"), element("div", { className: "form" }, ...others.map(build)));
  container.replaceChildren(...main.map(build), ...(others.length ? [more] : []));
}

function field(name, schema, value, { heads, required }) {
  const inner = bare(schema);
  const kind = name === "head" ? "head" : kindOf(schema);
  const initial = "default" in schema && !Array.isArray(schema.default) ? String(schema.default) : "";
  let input = element("input", { autocomplete: "off" });
  if (kind === "choice" || kind === "switch" || kind === "head") input = select(kind, inner, heads, initial);
  else if (kind === "number") Object.assign(input, { type: "number", inputMode: "decimal", min: inner.minimum ?? "", max: inner.maximum ?? "", step: inner.type === "integer" ? 1 : "any", placeholder: initial });
  else input.placeholder = { schedule: SCHEDULE_HINT, list: name === "labels" ? "all" : "a, b, …" }[kind] ?? initial;
  if (kind !== "number") input.spellcheck = false;
  const unset = value === undefined || value === null || (Array.isArray(value) && !value.length);
  input.value = unset ? "" : (SHOW[kind] || String)(value);
  Object.assign(input.dataset, { option: name, kind, filled: input.value });
  if (schema.description) input.title = schema.description;
  if (required) input.required = true;
  return element("label", { className: "field" }, WORDS[name] || spelled(name), input);
}

// `grace_s` as "Grace, seconds".
function spelled(name) {
  const text = name.replace(/_s$/, ", seconds").replaceAll("_", " ");
  return text[0].toUpperCase() + text.slice(1);
}

function select(kind, schema, heads, initial) {
  const unset = initial ? `default: ${kind === "switch" ? (initial === "true" ? "yes" : "no") : initial}` : "";
  const choices = kind === "switch" ? [["true", "yes"], ["false", "no"]] : (kind === "head" ? heads : schema.enum).map((each) => [String(each), String(each)]);
  return element("select", {}, new Option(unset, ""), ...choices.map(([value, text]) => new Option(text, value)));
}

// What the user has changed: option -> value, or null if the field is empty. What cannot be read stays as it was typed.
export function typedIn(container) {
  const values = {};
  for (const input of container.querySelectorAll("[data-option]")) {
    const { option, kind, filled } = input.dataset;
    const text = input.value.trim();
    if (text !== filled.trim()) values[option] = text ? valueOf(kind, text) : null;
  }
  return values;
}

function valueOf(kind, text) {
  try {
    return (READ[kind] || String)(text);
  } catch {
    return text;
  }
}

// What the user has typed and cannot be read: a line for each field. The camera checks everything else.
export function mistakesIn(container) {
  const found = [];
  for (const input of container.querySelectorAll("[data-option]")) {
    const { option, kind, filled } = input.dataset;
    const text = input.value.trim();
    input.removeAttribute("aria-invalid");
    try {
      if (text && text !== filled.trim()) READ[kind]?.(text);
    } catch (error) {
      input.setAttribute("aria-invalid", "true");
      found.push(`${option}: ${error.message}`);
    }
  }
  return found;
}

// The fields are stored: they count as unchanged.
export function markStored(container) {
  for (const input of container.querySelectorAll("[data-option]")) input.dataset.filled = input.value;
}
