// Requests to the camera. Addresses are relative, so that they also work below a path of a reverse proxy.

const TIMEOUT_MS = 8000;

// Which of several cameras the page shows: `?camera=NAME` in its own address; null: none is named.
export const CAMERA = new URLSearchParams(location.search).get("camera");

// The address of a path for a camera.
export function ofCamera(path, camera = CAMERA) {
  return camera === null ? path : `${path}?camera=${encodeURIComponent(camera)}`;
}

// A request that the camera answered with an error. status: HTTP status. body: its JSON, or {error: text}.
export class RequestError extends Error {
  constructor(path, status, body) {
    super(body.error || (body.errors || []).join("; ") || `${path}: ${status}`);
    this.status = status;
    this.body = body;
  }
}

async function answerOf(path, options) {
  const answer = await fetch(ofCamera(path), { signal: AbortSignal.timeout(TIMEOUT_MS), ...options });
  const text = await answer.text();
  let body;
  try {
    body = JSON.parse(text);
  } catch {
    body = { error: text.trim() };
  }
  if (!answer.ok) throw new RequestError(path, answer.status, body || {});
  return body;
}

export const getJson = (path) => answerOf(path, {});

export function postJson(path, body) {
  const headers = { "Content-Type": "application/json" };
  return answerOf(path, { method: "POST", headers, body: JSON.stringify(body) });
}

export const postText = (path, body = "") => answerOf(path, { method: "POST", body });
