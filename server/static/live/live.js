"use strict";

// Puts the page together: events go to the cards of their versions; the lines of batches move on.

const OPEN_AT_FIRST = 3; // Cards; further versions are opened by whoever wants to see them.

const byId = (name) => document.getElementById(name);
const versions = new Map();
const errors = new Map();

function say(state, words) {
  byId("status").dataset.state = state;
  byId("status").textContent = state === "locked" ? "locked" : words;
  byId("unlock").hidden = state !== "locked";
  if (state === "locked") {
    byId("refused").textContent = words;
    byId("token").focus();
  }
}

function tell(event) {
  byId("status").title = `batcher-server ${event.server}, ${plural(event.viewers, "viewer")}`;
  const serving = event.versions.filter((told) => told.now);
  const keys = new Set(serving.map(keyOf));
  for (const [key, version] of versions) {
    if (!keys.has(key)) {
      version.end();
      versions.delete(key);
    }
  }
  serving.forEach((told, place) => cardOf(told, place).tell(event, told));
  showOthers(event.versions.filter((told) => !told.now));
  showErrors(event);
}

const keyOf = (told) => `${told.model}\n${told.version}`;

function cardOf(told, place) {
  let version = versions.get(keyOf(told));
  if (!version) {
    version = new Version(events, told);
    version.card.open = versions.size < OPEN_AT_FIRST;
    versions.set(keyOf(told), version);
    byId("versions").insertBefore(version.card, byId("versions").children[place] ?? null);
  }
  return version;
}

function showOthers(others) {
  const failed = others.filter((told) => told.error).length;
  byId("failed").hidden = !failed;
  byId("failed").textContent = `${plural(failed, "version")} failed`;
  byId("others").hidden = !others.length;
  const text = JSON.stringify(others.map((told) => [told.model, told.version, told.state, told.error]));
  if (byId("states").dataset.text === text) return;
  byId("states").dataset.text = text;
  byId("states").replaceChildren(...others.map(stateOf));
}

function stateOf({ model, version, state, error }) {
  const item = document.createElement("li");
  // TensorFlow Serving knows no state for it: what did not load has come to its end.
  const seen = error ? "FAILED" : state;
  const badge = span("state", seen);
  badge.dataset.state = seen;
  item.append(span("name", model), span("number", `version ${version}`), badge, span("why", error));
  return item;
}

// Errors are counted while this page looks; a server that nobody looks at tells its metrics only.
function showErrors(event) {
  for (const [model, codes] of Object.entries(event.errors)) {
    for (const [code, many] of Object.entries(codes)) {
      const key = `${model || "no model of this server"}: ${code}`;
      errors.set(key, (errors.get(key) ?? 0) + many);
    }
  }
  byId("errors").hidden = !errors.size;
  const told = [...errors].map(([key, many]) => `${key} ${count(many)}`);
  byId("errors").textContent = `Errors since you look: ${told.join(", ")}`;
  byId("more").hidden = !event.left_out_versions;
  byId("more").textContent = `${plural(event.left_out_versions, "version")} of few requests not shown.`;
}

function move() {
  for (const version of versions.values()) if (version.open) version.line.draw();
  if (!stillness.matches) requestAnimationFrame(move);
  else setTimeout(move, 1000);
}

const events = new Events(tell, say);

byId("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  events.token = byId("token").value.trim();
  events.again(0);
});
byId("theme").value = wantedTheme();
byId("theme").addEventListener("change", (event) => {
  localStorage.setItem("theme", event.target.value);
  dress();
});
events.follow();
move();
