// Headline, health table, the toggles of the view, and plots of the last minutes.

import { $, app, COLORS, element, rows, swatch } from "./app.js";
import { mark } from "./view.js";

const HISTORY = 150; // polls that a plot shows: five minutes
const COMPUTED = { gate: "nothing", carried: "boxes moved", heads: "heads only", partial: "in part", dense: "all" };
const history = []; // data of the plots, one point per poll

export function showState() {
  const { status } = app;
  const faults = Object.entries(status.faults).map(([name, value]) => `${name}: ${value.text || value.error || value.reason || value.state || ""}`);
  if (status.stuck) faults.push(`no progress: ${status.stuck}`);
  if (status.reload_error) faults.push(`new configuration rejected: ${status.reload_error}`);
  if (faults.length) headline(faults.join(" · "), "bad");
  else headline(`${status.model}: camera ${status.source.state}, ${status.backend}`);
  const queued = status.publish.sinks.reduce((sum, sink) => sum + sink.queued, 0);
  showHealth(queued);
  showToggles();
  recordHistory(queued);
  showPlots();
}

// The line at the top. kind: "bad" for what needs attention.
export function headline(text, kind = "") {
  if ($("headline").textContent !== text) $("headline").textContent = text; // else it is announced again
  $("headline").className = kind;
}

const unit = (value, name) => (value === null ? "unknown" : `${value} ${name}`);

function showHealth(queued) {
  const { status } = app;
  const reuse = status.reuse || {};
  rows($("health"), [
    ["frames", status.frames],
    ["frames dropped / skipped", `${status.source.dropped} / ${status.skipped}`],
    ["load level", status.rung],
    ["latency", unit(status.latency_s, "s")],
    ["memory", unit(status.resident_mb, "MB")],
    ["memory available", unit(status.available_mb, "MB")],
    ["temperature", unit(status.temperature_c, "°C")],
    ["messages queued / dropped", `${queued} / ${status.publish.lost}`],
    ...status.publish.sinks.map((sink) => [`sink ${sink.name}`, sink.last_error ? `${sink.sent} sent; ${sink.last_error}` : `${sink.sent} sent`]),
    ...("cache_bytes" in reuse ? [["feature cache", unit((reuse.cache_bytes / 1e6).toFixed(1), "MB")]] : []),
    ["backend rebuilds", status.rebuilt],
    ["uptime", unit(Math.round(status.uptime_s), "s")],
    ["version", status.version],
  ]);
}

function showToggles() {
  const heads = Object.keys(app.status.heads);
  const names = [...heads.map((name) => `head ${name}`), ...Object.keys(app.status.rules).map((name) => `rule ${name}`)];
  if ($("toggles").dataset.names === names.join()) return;
  $("toggles").dataset.names = names.join();
  $("toggles").replaceChildren(
    ...names.map((name, position) => {
      const box = element("input", { type: "checkbox", checked: !app.hidden.has(name) });
      box.addEventListener("change", () => {
        if (box.checked) app.hidden.delete(name);
        else app.hidden.add(name);
        mark();
      });
      const color = position < heads.length ? COLORS[position % COLORS.length] : "#e0e0e0";
      return element("label", {}, box, swatch(color), name.slice(5));
    }),
  );
}

function recordHistory(queued) {
  const { status } = app;
  const reuse = status.reuse || {};
  const counts = Object.fromEntries(Object.entries(COMPUTED).filter(([name]) => name in reuse).map(([name, text]) => [text, reuse[name]]));
  const before = history.length ? history[history.length - 1].counts : {};
  const since = Object.entries(counts).map(([name, count]) => [name, Math.max(0, count - (before[name] ?? count))]);
  const all = since.reduce((sum, [, count]) => sum + count, 0);
  history.push({
    counts,
    stages: Object.fromEntries(Object.entries(status.stages).map(([name, stage]) => [name, stage.p50_ms])),
    reuse: all ? Object.fromEntries(since.map(([name, count]) => [name, (100 * count) / all])) : {},
    memory: status.resident_mb === null ? {} : { memory: status.resident_mb },
    queue: { queued },
    temperature: status.temperature_c === null ? {} : { hottest: status.temperature_c },
  });
  if (history.length > HISTORY) history.shift();
}

function showPlots() {
  plot("stages", "ms");
  plot("reuse", "%", true);
  plot("memory", "MB");
  plot("queue", "messages");
  plot("temperature", "°C");
}

// One plot: one line per name, or stacked bands. Hidden while there is no line to draw.
function plot(kind, unitName, stacked = false) {
  const figure = $(`plot-${kind}`);
  const points = history.map((point) => point[kind]);
  const names = [...new Set(points.flatMap(Object.keys))];
  figure.hidden = !names.length || points.length < 2;
  if (figure.hidden) return;
  const canvas = figure.querySelector("canvas");
  const top = stacked ? 100 : Math.max(1, ...points.flatMap(Object.values));
  paint(canvas, points, names, top, stacked);
  const latest = points[points.length - 1];
  const digits = kind === "queue" || top >= 100 ? 0 : 1;
  const texts = names.map((name) => `${name} ${name in latest ? latest[name].toFixed(digits) : "-"}`);
  canvas.setAttribute("aria-label", `${figure.querySelector("figcaption").textContent}, ${unitName}: ${texts.join(", ")}`);
  figure.querySelector(".legend").replaceChildren(
    ...texts.map((text, position) => element("span", {}, swatch(COLORS[position % COLORS.length]), `${text} `)),
    `full scale ${top.toFixed(0)} ${unitName}`,
  );
}

function paint(canvas, points, names, top, stacked) {
  const pen = canvas.getContext("2d");
  const [bottom, height] = [canvas.height - 3, canvas.height - 6];
  const x = (i) => canvas.width - (points.length - 1 - i) * (canvas.width / Math.max(30, points.length - 1));
  const y = (value) => bottom - (value / top) * height;
  pen.clearRect(0, 0, canvas.width, canvas.height);
  pen.lineWidth = 2;
  const base = points.map(() => 0);
  names.forEach((name, position) => {
    pen.fillStyle = pen.strokeStyle = COLORS[position % COLORS.length];
    points.forEach((point, i) => {
      if (!(name in point)) return;
      if (stacked) pen.fillRect(x(i - 1), y(base[i] + point[name]), x(i) - x(i - 1) + 0.5, y(base[i]) - y(base[i] + point[name]));
      base[i] += point[name];
    });
    if (stacked) return;
    pen.beginPath();
    points.forEach((point, i) => name in point && pen.lineTo(x(i), y(point[name])));
    pen.stroke();
  });
}
