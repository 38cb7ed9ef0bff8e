// The latest events in words, with filters by rule, by label and by what is still going on.

import { $, element } from "./app.js";
import { ofCamera } from "./requests.js";
import { showSnapshot } from "./snapshot.js";
import { isFault, labelsOf, sentence, when } from "./words.js";

const SHOWN = 50;
let all = []; // the latest message of each event, newest first
let shownKey = "";

export function showEvents(messages) {
  const key = JSON.stringify(messages);
  if (key === shownKey) return;
  shownKey = key;
  const latest = new Map(); // event id -> its latest message, in order of the first ones
  for (const message of messages) latest.set(message.event_id, message);
  all = [...latest.values()].reverse();
  offer($("event-rule"), all.map((event) => event.rule), "all rules");
  offer($("event-label"), all.flatMap(labelsOf), "all labels");
  list();
}

// The events with a snapshot or clip that pass the filters, newest first.
const withImages = () => filtered().filter((event) => event.snapshot || event.clip);

function filtered() {
  const [rule, label, state] = ["event-rule", "event-label", "event-state"].map((id) => $(id).value);
  return all.filter(
    (event) =>
      (!rule || event.rule === rule) &&
      (!label || labelsOf(event).includes(label)) &&
      (!state || (state === "open" ? !event.end : state === "fault" ? isFault(event) : event.snapshot)),
  );
}

function list() {
  const events = filtered().slice(0, SHOWN);
  const focused = document.activeElement?.closest?.("#events li")?.dataset.event;
  const none = element("li", { className: "quiet" }, all.length ? "none that pass the filter" : "none yet");
  $("events").replaceChildren(...(events.length ? events.map(item) : [none]));
  const again = focused && [...$("events").children].find((entry) => entry.dataset.event === focused);
  again?.querySelector("button")?.focus(); // the list was built again: keep the place of keyboard users
}

function item(event) {
  const entry = element("li", {}, sentence(event), " ", element("span", { className: "quiet" }, when(event)));
  entry.dataset.event = event.event_id;
  if (!event.end) entry.classList.add("open");
  if (isFault(event)) entry.classList.add("fault");
  if (event.snapshot || event.clip) entry.append(opener(event));
  return entry;
}

// The button that shows the snapshot in full size, or the clip.
function opener(event) {
  const button = element("button", { type: "button", className: "snapshot" });
  button.setAttribute("aria-label", `${event.snapshot ? "enlarge the snapshot" : "play the clip"}: ${sentence(event)}`);
  button.addEventListener("click", () => showSnapshot(event, withImages()));
  if (event.snapshot) {
    const image = element("img", { loading: "lazy", alt: "" });
    image.src = ofCamera(`api/snapshots/${encodeURIComponent(event.event_id)}`);
    button.append(image);
  }
  if (event.clip) button.append(element("span", {}, "▶ clip"));
  return button;
}

// Offers the distinct values, and keeps the one that is chosen.
function offer(select, values, allText) {
  const names = [...new Set(values)].sort();
  if (select.value && !names.includes(select.value)) names.push(select.value);
  const chosen = select.value;
  select.replaceChildren(new Option(allText, ""), ...names.map((name) => new Option(name, name)));
  select.value = chosen;
}

for (const id of ["event-rule", "event-label", "event-state"]) $(id).addEventListener("change", list);
