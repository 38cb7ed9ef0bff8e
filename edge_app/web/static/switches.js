// Commands: switches for heads, rules and reuse, muting, a snapshot. They hold until the next start, or are stored.

import { $, app, element } from "./app.js";
import { postJson } from "./requests.js";

const MUTE_MIN = 10;
const ANSWER_TIMEOUT = 503; // of the camera; the command may still be executed
let shownKey = "";

// seen: `commands_seen` of /api/config. after: called when a command was executed, to read it again.
export function showSwitches(after) {
  const seen = app.config?.commands && app.config.commands_seen;
  $("switches").hidden = !seen;
  if (!seen) return;
  const entries = [
    ...Object.entries(seen.heads).map(([name, on]) => [`heads/${name}`, `head ${name}`, on, seen.running.heads[name]]),
    ...Object.entries(seen.rules).map(([name, on]) => [`rules/${name}`, `rule ${name}`, on, seen.running.rules[name]]),
    ["reuse", "reuse of results", seen.reuse !== "off", true],
  ];
  const key = JSON.stringify([entries, seen.muted_s > 0]);
  if (key === shownKey) return;
  shownKey = key;
  const focused = document.activeElement?.dataset?.command;
  $("switch-list").replaceChildren(...entries.map((entry) => control(entry, after)));
  [...$("switch-list").querySelectorAll("input")].find((input) => input.dataset.command === focused)?.focus();
  $("mute").textContent = seen.muted_s > 0 ? "End muting" : `Mute all rules for ${MUTE_MIN} minutes`;
  $("mute").dataset.minutes = seen.muted_s > 0 ? 0 : MUTE_MIN;
}

function control([command, text, on, running], after) {
  const box = element("input", { type: "checkbox", checked: on });
  box.setAttribute("role", "switch");
  box.dataset.command = command;
  box.addEventListener("change", () => send(command, box.checked ? "ON" : "OFF", text, after));
  const idle = on && running === false ? " (paused: schedule, load or a fault)" : "";
  return element("label", {}, box, ` ${text}${idle}`);
}

async function send(command, value, text, after) {
  const persist = $("switch-persist").checked && !["mute", "snapshot"].includes(command);
  result("");
  try {
    const body = value === null ? {} : { value, ...(persist ? { persist } : {}) };
    await postJson(`api/set/${command.split("/").map(encodeURIComponent).join("/")}`, body);
    result(`${text}: ${value === null ? "done" : value}${persist ? ", stored" : ""}.`);
  } catch (error) {
    const unknown = error.status === ANSWER_TIMEOUT;
    result(`${text}: ${unknown ? "" : "not executed: "}${error.message}`);
    if (!unknown) shownKey = ""; // the switch goes back
  }
  await after();
}

const result = (text) => ($("switch-result").textContent = text);

export function connectButtons(after) {
  $("mute").addEventListener("click", () => send("mute", Number($("mute").dataset.minutes), "minutes without rules", after));
  $("snapshot-now").addEventListener("click", () => send("snapshot", null, "snapshot", after));
}
