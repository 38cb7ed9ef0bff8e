// Editing zones, lines, masks, filters and scores: what the form shows, saving, undo, and conflicts with the file.

import { $, app, element, say } from "./app.js";
import { changeOf, corners, drawnIn, GEOMETRY, partsOf, schemaOf, yamlOf } from "./changes.js";
import { clearCorners, replaceCorners, setActive, setShape, shape, undoCorner } from "./drawing.js";
import { markStored, mistakesIn, showFields, typedIn } from "./fields.js";
import { getJson, postJson } from "./requests.js";
import { connectButtons, showSwitches } from "./switches.js";
import { mark } from "./view.js";

const ASK_EVERY_MS = 30000; // for edits on disk, while the form is open: the camera reads and checks its files each time
const NEW = { zone: "new zone", line: "new line", count: "new area to count in", mask: "new privacy mask" };

let askedAt = -Infinity;
let parts = []; // the shapes of the entry (changes.js)
let part = null; // the one that is drawn
let busy = false;

// Reads what can be edited: once, and again while the form is open. A camera that cannot answer offers YAML to copy.
export async function loadConfig(force = false) {
  const due = app.config === null || (($("editing").open || $("switches").open) && performance.now() - askedAt > ASK_EVERY_MS);
  if (busy || (!force && !due)) return;
  if (app.status.cameras) { // of several cameras, the page changes no file
    if (app.config === null) use({ commands: false });
    return;
  }
  askedAt = performance.now();
  let config;
  try {
    config = await getJson("api/config");
    if (config.commands && config.version !== app.config?.version) app.options = await getJson("api/options");
  } catch (error) {
    if (error.status === 401) throw error;
    if (error.status === 422) showErrors(["the configuration on disk has mistakes:", ...error.body.errors]);
    if (app.config?.commands) return; // it is asked again
    config = { commands: false };
  }
  if (busy) return; // the answer to a save says more
  if (app.config?.commands) {
    app.config.commands_seen = config.commands_seen;
    showSwitches(readAgain);
  }
  if (app.config && config.version === app.config.version && config.undo === app.config.undo) return;
  if (app.config?.commands && dirty() && config.version !== app.config.version) {
    showConflict(config);
    return;
  }
  use(config);
}

const readAgain = () => loadConfig(true);

// Takes a configuration of the camera as the current one, and fills the form from it.
function use(config) {
  app.config = config;
  const unfit = config.unfit || [];
  $("unfit").hidden = !unfit.length;
  $("unfit").textContent = `What was saved earlier does not fit the configuration and is not in effect; the next save replaces it. ${unfit.join(" · ")}`;
  showSwitches(readAgain);
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

// ---- What is edited: "rule NAME", "mask INDEX", "head NAME" (its ignored areas), "camera" or "new KIND"

function offerTargets() {
  const chosen = $("target").value;
  const rules = Object.entries(app.config.rules || {}).map(([name, rule]) => new Option(`${rule.type} ${name}`, `rule ${name}`));
  const masks = (app.config.mask || []).map((_, i) => new Option(`privacy mask ${i + 1}`, `mask ${i}`));
  const others = Object.keys(app.options?.rules || {}).filter((kind) => !(kind in NEW)).map((kind) => [kind, `new rule ${kind}`]);
  const added = element("optgroup", { label: "Add" }, ...[...Object.entries(NEW), ...others].map(([kind, text]) => new Option(text, `new ${kind}`)));
  const heads = Object.entries(app.options?.heads || {}).filter(([, schema]) => schema.properties.ignore).map(([name]) => new Option(`ignored areas of ${name}`, `head ${name}`));
  const present = element("optgroup", { label: "Change" }, ...rules, ...masks, ...heads, new Option("camera schedule", "camera "));
  $("target").replaceChildren(...(app.config.commands ? [present] : []), added); // else lines to copy: of new entries only
  const known = [...$("target").options].some((option) => option.value === chosen);
  $("target").value = known ? chosen : "new zone";
}

function offerHeads() {
  const heads = headNames();
  const chosen = [$("shape-head").value, $("filter-head").value];
  for (const [i, id] of ["shape-head", "filter-head"].entries()) {
    $(id).replaceChildren(...heads.map((name) => new Option(name, name, false, name === app.status.tracked)));
    if (heads.includes(chosen[i])) $(id).value = chosen[i];
  }
}

const target = () => {
  const [what, ...rest] = $("target").value.split(" ");
  const name = rest.join(" ");
  const inFile = entryOf(app.config, what, name);
  return { what, name, kind: what === "rule" ? inFile.type : what === "mask" ? "mask" : what === "new" ? name : what, inFile };
};

// An entry as it is in the file: its options; null if it is not there.
function entryOf(config, what, name) {
  if (what === "rule") return config.rules?.[name] ?? null;
  if (what === "mask") return config.mask?.[Number(name)] ? { mask: config.mask[Number(name)] } : null;
  if (what === "head") return config.heads?.[name] ?? null;
  return what === "camera" ? { schedule: config.schedule } : null;
}

// Fills the form from the chosen entry.
function fillTarget() {
  const entry = target();
  const { what, kind, inFile } = entry;
  const schema = schemaOf(entry, app.options);
  const isNewRule = what === "new" && kind !== "mask";
  parts = partsOf(schema, inFile);
  if (isNewRule) $("shape-name").value = freeName(kind);
  $("name-field").hidden = !isNewRule;
  $("head-field").hidden = !isNewRule || !takesHead(kind, schema);
  $("part-field").hidden = parts.length < 2;
  $("shape-field").hidden = !parts.length;
  $("shape-part").replaceChildren(...parts.map((each, i) => new Option(each.text, i)));
  showFields(schema, inFile || {}, $("shape-options"), headNames(), isNewRule ? ["head"] : []);
  $("delete").hidden = !["rule", "mask"].includes(what);
  $("save-errors").replaceChildren();
  showPart();
}

const takesHead = (kind, schema) => kind in GEOMETRY || "head" in schema.properties;
const headNames = () => Object.keys(app.config.labels || app.status.heads);

// Draws the chosen shape of the entry.
function showPart() {
  part = parts[Number($("shape-part").value)] || null;
  setShape(part?.points || [], part?.line || false);
  showCorners();
  showYaml();
}

function freeName(kind) {
  const names = Object.keys(app.config.rules || app.status.rules);
  let number = 1;
  while (names.includes(`${kind}-${number}`)) number += 1;
  return `${kind}-${number}`;
}

const typedOrDrawn = () => ({ ...typedIn($("shape-options")), ...drawnIn(parts) });
const dirty = () => Object.keys({ ...typedOrDrawn(), ...typedIn($("filter-options")) }).length > 0;

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
  if (part) part.points = shape.points;
  showCorners();
  showYaml();
};

// ---- Filters and score of a head

function fillFilter() {
  const name = $("filter-head").value;
  showFields(app.options?.heads?.[name], app.config.heads?.[name] || {}, $("filter-options"));
}

// ---- Saving

function shapeChange() {
  const { what, name, kind } = target();
  const named = what === "new" ? $("shape-name").value.trim() : name;
  const head = $("head-field").hidden ? null : $("shape-head").value;
  return changeOf({ what, name: named, kind, head, masks: app.config.mask || [] }, typedOrDrawn());
}

const filterChange = () => changeOf({ what: "head", name: $("filter-head").value, kind: "head" }, typedIn($("filter-options")));

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
  for (const id of ["shape-options", "filter-options"]) markStored($(id));
  for (const each of parts) each.base = each.points;
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
    else showErrors(["Not saved:", ...(error.body?.errors || [error.message.replace(/^not saved: /, "")])]);
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
  const { what, name } = target();
  const entry = entryOf(config, what, name);
  shape.onDisk = part && (part.many ? entry?.[part.option]?.[part.index] : entry?.[part.option]);
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
  const keptTarget = $("target").value;
  app.config = onDisk; // its version; what the user has changed is sent, everything else stays as on disk
  $("conflict").hidden = true;
  shape.onDisk = null;
  offerTargets();
  $("target").value = keptTarget;
  if ($("target").value !== keptTarget) { // it was deleted on disk
    fillTarget();
    return result("The entry was deleted on disk; your change cannot be stored.");
  }
  return Object.keys(typedIn($("filter-options"))).length ? saveFilter() : saveShape();
});

// ---- Controls

const saveShape = () => {
  const { what, kind } = target();
  const invalid = $("name-field").hidden === false && !$("shape-name").reportValidity();
  if (invalid || rejected("shape-options")) return undefined;
  const after = what === "new" ? (kind === "mask" ? `mask ${(app.config.mask || []).length}` : `rule ${$("shape-name").value.trim()}`) : undefined;
  return save(shapeChange(), "Saved.", after);
};
const saveFilter = () => (rejected("filter-options") ? undefined : save(filterChange(), "Saved."));

// Whether something in a form cannot be read, which is then shown.
function rejected(form) {
  const mistakes = mistakesIn($(form));
  if (mistakes.length) result("");
  if (mistakes.length) showErrors(["Not saved:", ...mistakes]);
  return mistakes.length > 0;
}

$("editing").addEventListener("toggle", () => {
  setActive($("editing").open);
  if ($("editing").open && app.config?.commands) loadConfig(true);
});
$("switches").addEventListener("toggle", () => $("switches").open && readAgain());
connectButtons(readAgain);
$("target").addEventListener("change", fillTarget);
$("shape-part").addEventListener("change", showPart);
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
