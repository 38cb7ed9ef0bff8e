// Events as sentences: "person in plaza, 2.0 s".

const ZEROES_AFTER_S = 10; // from here on, without a decimal

export function duration(seconds) {
  if (seconds < ZEROES_AFTER_S) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${(seconds / 3600).toFixed(1)} h`;
}

const after = (seconds) => (seconds >= 0.05 ? `, ${duration(seconds)}` : ""); // nothing for an event that has just begun

const SENTENCES = {
  zone: ({ rule, value }) => `${value.label} in ${rule}${after(value.dwell_s)}`,
  line: ({ rule, value }) => `${value.label} crossed ${rule}${value.direction ? `, ${value.direction}` : ""}`,
  count: ({ rule, value }) => {
    const parts = Object.entries(value.labels || {}).map(([label, number]) => `${number} × ${label}`);
    return `${parts.length ? parts.join(", ") : value.count} in ${rule}`;
  },
  reading: ({ rule, value }) => `${rule} reads ${String(value.text).replaceAll("\n", " / ")}`,
  scene: ({ rule, value }) => `image ${value.state} (${rule})`,
  stationary: ({ rule, value }) => `${value.label} stays at one place (${rule})${after(value.stayed_s)}`,
  runtime: ({ value }) => (value.command ? `command ${value.command} ${value.value ?? ""} (${value.origin})` : `${value.fault}: ${value.text || value.error || value.reason || value.state || listed(value)}`),
};

// The sentence of an event; for a rule type of a plug-in, its values.
export function sentence(event) {
  const build = Object.hasOwn(SENTENCES, event.rule_type) ? SENTENCES[event.rule_type] : null;
  return build ? build(event) : `${event.rule}: ${listed(event.value)}`;
}

function listed(value) {
  const shown = Object.entries(value).filter(([name]) => !["box", "track_id"].includes(name));
  return shown.map(([name, item]) => `${name} ${typeof item === "object" ? JSON.stringify(item) : item}`).join(", ");
}

// Whether an event is about a fault, not about a command.
export const isFault = ({ rule_type: type, value }) => type === "runtime" && !value.command;

// When an event was: its time of day, and its date if it was not today.
export function when(event, now = new Date()) {
  const [start, end] = [new Date(event.start), event.end && new Date(event.end)];
  const date = start.toDateString() === now.toDateString() ? "" : `${start.toLocaleDateString()} `;
  const until = end && end - start >= 1000 ? ` – ${end.toLocaleTimeString()}` : "";
  return `${date}${start.toLocaleTimeString()}${until}`;
}

// The labels that an event is about.
export const labelsOf = ({ value }) => (value.label === undefined ? Object.keys(value.labels || {}) : [value.label]);
