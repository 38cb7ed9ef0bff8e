// The page: asks for the state every 2 s, and opens the live view while the page is visible.

import { $, app } from "./app.js";
import { loadConfig } from "./editing.js";
import { showEvents } from "./events.js";
import { headline, showState } from "./health.js";
import { attention, hideOverview, showOverview, summary } from "./overview.js";
import { getJson, postText } from "./requests.js";
import { showTotals } from "./totals.js";
import { closeLiveView, openLiveView, setConnected } from "./view.js";

const POLL_MS = 2000;

async function poll() {
  if (document.visibilityState === "visible") {
    try {
      app.status = await getJson("api/status");
      showLogin(false);
      if (showOverview()) headline(summary(), attention() ? "bad" : "");
      else await showCamera();
    } catch (error) {
      if (error.status === 401) {
        showLogin(true);
      } else {
        setConnected(false);
        headline(`no answer from the camera (${error.message})`, "bad");
      }
    }
  } else {
    closeLiveView(); // no load on the camera while the page is hidden
  }
  setTimeout(poll, POLL_MS);
}

async function showCamera() {
  const events = await getJson("api/events");
  setConnected(true);
  showState();
  showEvents(events);
  openLiveView();
  await loadConfig();
  await showTotals();
}

function showLogin(visible) {
  const appears = visible && $("login").hidden;
  $("login").hidden = !visible;
  $("page").hidden = visible;
  $("logout").hidden = visible || !app.status?.session; // also after a reload: the camera knows the session
  if (visible) {
    closeLiveView();
    hideOverview();
    headline("log in to see the camera");
  }
  if (appears) $("token").focus();
}

$("login").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await postText("api/login", $("token").value);
    $("login-error").textContent = "";
    $("token").value = "";
    app.status = await getJson("api/status");
    showLogin(false);
  } catch (error) {
    $("login-error").textContent = error.message;
  }
});

$("logout").addEventListener("click", async () => {
  try {
    await postText("api/logout");
    app.status = null;
    showLogin(true);
  } catch (error) {
    headline(`not logged out: ${error.message}`, "bad");
  }
});

poll();
