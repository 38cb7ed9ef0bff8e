// Editing zones, lines, masks, filters and scores: what the form shows, saving, undo, and conflicts with the file.

import { $, app, element, say } from "./app.js";
import { changeOf, corners, formOf, GEOMETRY, optionsOf, yamlOf } from "./changes.js";
import { clearCorners, replaceCorners, setActive, setShape, shape, undoCorner } from "./drawing.js";
import { getJson, postJson } from "./requests.js";
import { mark } from "./view.js";

const ASK_EVERY_MS = 30000; // for edits on disk, while the form is open: the camera reads and checks its files each time
const NEW = [["zone", "new zone"], ["line", "new line"], ["count", "new area to count in"], ["mask", "new privacy mask"]];

let askedAt = -Infinity;
let base = null; // the entry of the file that the form was filled from; null: a new one
let filled = ""; // the form as it was filled, to know whether the user has changed it
let busy = false;

// Reads what can be edited: once, and again while the form is open. A camera that cannot answer offers YAML to copy.
export async function loadConfig(force = false) {
  const due = app.config === null || ($("editing").open && performance.now() - askedAt > ASK_EVERY_MS);
  if (busy || (!force && !due)) return;
  askedAt = performance.now();
  let config;
  try {
    config = await getJson("api/config");
  } catch (error) {
    if (error.status === 401) throw error;
    if (error.status === 422) showErrors(["the configuration on disk has mistakes:", ...error.body.errors]);
    if (app.config?.commands) return; // it is asked again
    config = { commands: false };
  }
  if (busy) return; // the answer to a save says more
  if (app.config && config.version === app.config.version && config.undo === app.config.undo) return;
  if (app.config?.commands && dirty() && config.version !== app.config.version) {
    showConflict(config);
    return;
  }
  use(config);
}

// Takes a configuration of the camera as the current one, and fills the form from it.
function use(config) {
  app.config = config;
  $("conflict").hidden = true;
  $("save-bar").hidden = !config.commands;
  $("yaml-block").hidden = Boolean(config.commands);
  $("filters").hidden = !config.commands;
  offerTargets();
  offerHeads();
  showUndo();
  fillTarget();
  fillFilter();
}

function showUndo() {
  const left = app.config.undo || 0;
  $("undo-save").disabled = !left;
  $("undo-save").textContent = left ? `Undo last save (${left} possible)` : "Undo last save";
}

// ---- What is edited: "rule NAME", "mask INDEX" or "new KIND"

function offerTargets() {
  const chosen = $("target").value;
  const rules = Object.entries(app.config.rules || {}).map(([name, rule]) => new Option(`${rule.type} ${name}`, `rule ${name}`));
  const masks = (app.config.mask || []).map((_, i) => new Option(`privacy mask ${i + 1}`, `mask ${i}`));
  const added = element("optgroup", { label: "Add" }, ...NEW.map(([kind, text]) => new Option(text, `new ${kind}`)));
  const present = element("optgroup", { label: "Change" }, ...rules, ...masks);
  const changeable = app.config.commands && (rules.length || masks.length); // else lines to copy: of new entries only
  $("target").replaceChildren(...(changeable ? [present] : []), added);
  const known = [...$("target").options].some((option) => option.value === chosen);
  $("target").value = known ? chosen : "new zone";
}

function offerHeads() {
  const heads = Object.keys(app.config.labels || app.status.heads);
  const chosen = [$("shape-head").value, $("filter-head").value];
  for (const [i, id] of ["shape-head", "filter-head"].entries()) {
    $(id).replaceChildren(...heads.map((name) => new Option(name, name, false, name === app.status.tracked)));
    if (heads.includes(chosen[i])) $(id).value = chosen[i];
  }
}

const target = () => {
  const [what, ...rest] = $("target").value.split(" ");
  const name = rest.join(" ");
  const rule = what === "rule" ? app.config.rules[name] : null;
  return { what, name, kind: what === "rule" ? rule.type : what === "mask" ? "mask" : name, rule };
};

// Fills the form from the chosen entry.
function fillTarget() {
  const { what, name, kind, rule } = target();
  base = what === "rule" ? rule : what === "mask" ? app.config.mask[Number(name)] : null;
  const points = what === "mask" ? base : (rule?.[GEOMETRY[kind]] ?? []);
  setShape(points, kind === "line");
  if (what === "new" && kind !== "mask") $("shape-name").value = freeName(kind);
  $("name-field").hidden = what !== "new" || kind === "mask";
  $("head-field").hidden = what !== "new" || kind === "mask";
  $("shape-field").hidden = !(kind in GEOMETRY);
  formOf(kind, rule || {}, $("shape-options"));
  $("delete").hidden = what === "new";
  $("save-errors").replaceChildren();
  showCorners();
  filled = formState();
  showYaml();
}

function freeName(kind) {
  const names = Object.keys(app.config.rules || app.status.rules);
  let number = 1;
  while (names.includes(`${kind}-${number}`)) number += 1;
  return `${kind}-${number}`;
}

const formState = () => JSON.stringify([shape.points, optionsOf($("shape-options"))]);
const dirty = () => formState() !== filled || filterState() !== filterFilled;

function showCorners() {
  const text = shape.points.map((point) => point.join(" ")).join(", ");
  if (document.activeElement !== $("corners")) $("corners").value = text;
}

function showYaml() {
  if (app.config?.commands) return;
  const { kind } = target();
  $("yaml").textContent = yamlOf(kind, $("shape-name").value, $("shape-head").value, shape.points);
}

shape.changed = () => {
  showCorners();
  showYaml();
};

// ---- Filters and score of a head

let filterFilled = "";
const filterState = () => JSON.stringify(optionsOf($("filter-options")));

function fillFilter() {
  const head = app.config.heads?.[$("filter-head").value] || {};
  formOf("head", head, $("filter-options"));
  filterFilled = filterState();
}

// ---- Saving

function shapeChange() {
  const { what, name, kind } = target();
  const named = what === "new" ? $("shape-name").value.trim() : name;
  return changeOf({ what, name: named, kind, base, head: $("shape-head").value, masks: app.config.mask || [] }, shape.points, optionsOf($("shape-options")));
}

function filterChange() {
  const head = $("filter-head").value;
  const changed = changeOf({ what: "head", name: head, kind: "head", base: app.config.heads?.[head] || {} }, [], optionsOf($("filter-options")));
  return changed;
}

// Sends a change. after: the entry to show when it is stored.
async function save(changes, done, after = $("target").value) {
  if (!changes) return result("Nothing has been changed.");
  const sent = await send("api/save", { version: app.config.version, changes });
  if (!sent) return undefined;
  await loadAfter(sent, after);
  return result(`${done} Stored in ${sent.stored_in}.`);
}

async function undoSave() {
  const sent = await send("api/undo", { version: app.config.version });
  if (!sent) return;
  await loadAfter(sent, $("target").value);
  result("The last saved change is undone.");
}

async function loadAfter(sent, after) {
  filled = formState();
  filterFilled = filterState(); // what was typed is stored now
  app.config.version = undefined; // so that the answer counts as another one
  await loadConfig(true);
  if ([...$("target").options].some((option) => option.value === after)) $("target").value = after;
  fillTarget();
}

// The answer to a change; null if it was rejected, which is then shown.
async function send(path, body) {
  if (busy) return null;
  setBusy(true);
  $("conflict").hidden = true; // the answer shows it again if there still is one
  $("save-errors").replaceChildren();
  result("Saving…");
  try {
    return await postJson(path, body);
  } catch (error) {
    result("");
    if (error.status === 409 && error.body.config) showConflict(error.body.config);
    else showErrors(["Not saved:", ...(error.body?.errors || [error.message])]);
    return null;
  } finally {
    setBusy(false);
  }
}

// While a change is being sent, no other one can be.
function setBusy(value) {
  busy = value;
  for (const id of ["save", "delete", "save-filter", "conflict-mine", "conflict-theirs"]) $(id).setAttribute("aria-disabled", String(value));
}

function showErrors(errors) {
  $("save-errors").replaceChildren(...errors.map((text) => element("li", {}, text)));
}

function result(text) {
  $("save-result").textContent = text;
  return undefined;
}

// ---- A conflict: the file was edited since the form was filled

let onDisk = null;

function showConflict(config) {
  onDisk = { ...config, commands: app.config.commands }; // which an answer to a save leaves out
  const { what, name, kind } = target();
  const entry = what === "rule" ? config.rules?.[name] : what === "mask" ? config.mask?.[Number(name)] : null;
  shape.onDisk = what === "mask" ? entry : entry?.[GEOMETRY[kind]];
  if (!shape.onDisk?.length) shape.onDisk = null;
  $("conflict-text").textContent = `The configuration was edited on disk since this form was filled; your change is not saved. Changed on disk: ${differences(app.config, config).join(", ") || "other parts"}.`;
  $("conflict-shape").hidden = !shape.onDisk;
  $("conflict").hidden = false;
  mark();
}

// The paths at which two values differ, such as rules.plaza.polygon.
function differences(ours, theirs, path = "", depth = 3) {
  const parts = [ours, theirs].map((value) => (value && typeof value === "object" && !Array.isArray(value) ? value : null));
  if (!depth || !parts[0] || !parts[1]) return JSON.stringify(ours) === JSON.stringify(theirs) ? [] : [path];
  const names = path ? new Set([...Object.keys(ours), ...Object.keys(theirs)]) : ["rules", "heads", "mask", "schedule"];
  return [...names].flatMap((name) => differences(ours[name], theirs[name], path ? `${path}.${name}` : name, depth - 1));
}

$("conflict-theirs").addEventListener("click", () => {
  if (busy) return;
  use(onDisk);
  result("Loaded from disk.");
});

$("conflict-mine").addEventListener("click", () => {
  if (busy) return undefined;
  const [keptTarget, points, wasBase] = [$("target").value, shape.points, base];
  app.config = onDisk; // its version; what the user has changed is sent, everything else stays as on disk
  $("conflict").hidden = true;
  shape.onDisk = null;
  offerTargets();
  $("target").value = keptTarget;
  if ($("target").value !== keptTarget) { // it was deleted on disk
    fillTarget();
    return result("The entry was deleted on disk; your change cannot be stored.");
  }
  [shape.points, base] = [points, wasBase];
  return filterState() !== filterFilled ? saveFilter() : saveShape();
});

// ---- Controls

const saveShape = () => {
  const { what, kind } = target();
  const invalid = kind in GEOMETRY && $("name-field").hidden === false && !$("shape-name").reportValidity();
  if (invalid) return undefined;
  const after = what === "new" ? (kind === "mask" ? `mask ${(app.config.mask || []).length}` : `rule ${$("shape-name").value.trim()}`) : undefined;
  return save(shapeChange(), "Saved.", after);
};
const saveFilter = () => save(filterChange(), "Saved.");

$("editing").addEventListener("toggle", () => {
  setActive($("editing").open);
  if ($("editing").open && app.config?.commands) loadConfig(true);
});
$("target").addEventListener("change", fillTarget);
$("filter-head").addEventListener("change", fillFilter);
$("undo-corner").addEventListener("click", undoCorner);
$("clear").addEventListener("click", clearCorners);
$("save").addEventListener("click", saveShape);
$("save-filter").addEventListener("click", saveFilter);
$("undo-save").addEventListener("click", undoSave);
$("delete").addEventListener("click", () => {
  const { what, name } = target();
  const change = what === "rule" ? { rules: { [name]: null } } : { mask: app.config.mask.filter((_, i) => i !== Number(name)) };
  return save(change, "Deleted.", "new zone");
});
$("corners").addEventListener("change", () => {
  const points = corners($("corners").value);
  if (points) replaceCorners(points);
  else say("corners: expected pairs of numbers from 0 to 1, such as 0.1 0.2, 0.8 0.2");
  $("corners").setAttribute("aria-invalid", String(!points));
});
for (const id of ["shape-name", "shape-head"]) $(id).addEventListener("input", showYaml);
$("copy").addEventListener("click", () => {
  getSelection().selectAllChildren($("yaml")); // the clipboard API needs HTTPS or localhost; the selection works everywhere
  if (navigator.clipboard) navigator.clipboard.writeText($("yaml").textContent);
});
