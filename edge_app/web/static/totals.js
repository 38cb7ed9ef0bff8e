// Totals by hour as bars: the finished hours from /api/totals, the present one from the status.

import { $, app, COLORS, element, swatch } from "./app.js";
import { getJson } from "./requests.js";

const ASK_EVERY_MS = 60000;
const HOURS = 24;
const HOUR_S = 3600;
let finished = {}; // rule -> count -> [[start of the hour, number], …]
let askedAt = -Infinity;
let shownKey = "";

export async function showTotals() {
  const rules = app.status.totals?.rules || {};
  $("totals-section").hidden = !Object.keys(rules).length;
  if ($("totals-section").hidden) return;
  if (performance.now() - askedAt > ASK_EVERY_MS) {
    askedAt = performance.now();
    finished = await getJson("api/totals");
  }
  const now = new Date();
  const thisHour = Math.floor(now.getTime() / 1000) - now.getMinutes() * 60 - now.getSeconds();
  const key = JSON.stringify([rules, finished, thisHour]);
  if (key === shownKey) return;
  shownKey = key;
  $("totals").replaceChildren(...Object.entries(rules).map(([rule, counts]) => chart(rule, counts, thisHour)));
}

// counts: of the status, {name: {total, day, hour}}.
function chart(rule, counts, thisHour) {
  const names = Object.keys(counts);
  const starts = Array.from({ length: HOURS }, (_, i) => thisHour - (HOURS - 1 - i) * HOUR_S);
  const numbers = starts.map((start) => names.map((name) => (start === thisHour ? counts[name].hour : counted(rule, name, start))));
  const most = Math.max(1, ...numbers.flat());
  const columns = numbers.map((ofHour, i) => column(ofHour, most, describe(starts[i], names, ofHour)));
  const bars = element("div", { className: "bars" }, ...columns);
  bars.setAttribute("role", "img");
  const nonzero = starts.map((start, i) => [start, numbers[i]]).filter(([, ofHour]) => ofHour.some(Boolean));
  const texts = nonzero.map(([start, ofHour]) => describe(start, names, ofHour));
  bars.setAttribute("aria-label", `${rule}, last ${HOURS} hours: ${texts.join("; ") || "nothing"}`);
  const axis = element("div", { className: "axis quiet" }, ...[0, 12, 23].map((i) => element("span", {}, clock(starts[i]))));
  const legend = names.map((name, i) => element("span", {}, swatch(COLORS[i % COLORS.length]), `${name} ${counts[name].day} today, ${counts[name].total} in all `));
  const caption = element("figcaption", {}, `${rule} (highest: ${most})`);
  return element("figure", {}, caption, bars, axis, element("p", { className: "legend quiet" }, ...legend));
}

// The time zones of camera and browser may differ by part of an hour: a bar is the hour that began within it.
function counted(rule, name, start) {
  const ofHour = (finished[rule]?.[name] || []).filter(([began]) => began >= start && began < start + HOUR_S);
  return ofHour.reduce((sum, [, number]) => sum + number, 0);
}

function column(ofHour, most, text) {
  const bars = ofHour.map((number, i) => {
    const bar = element("span");
    bar.style.height = `${(100 * number) / most}%`;
    bar.style.background = COLORS[i % COLORS.length];
    return bar;
  });
  return element("div", { title: text }, ...bars);
}

const clock = (start) => new Date(start * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });
const describe = (start, names, ofHour) => `${clock(start)} ${names.map((name, i) => `${name} ${ofHour[i]}`).join(", ")}`;
