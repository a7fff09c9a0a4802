"use strict";

// Shows openapi.json in Swagger UI. The description names the models, so it may need a token, which
// is kept in this page's memory only; the viewer then sends it with every request that it tries.

const darkness = matchMedia("(prefers-color-scheme: dark)");

function followColours() {
  document.documentElement.classList.toggle("dark-mode", darkness.matches);
}

function authorization(token) {
  return token ? { Authorization: `Bearer ${token}` } : {};
}

function show(token) {
  const ui = SwaggerUIBundle({
    url: "openapi.json",
    dom_id: "#viewer",
    deepLinking: true,
    docExpansion: "list",
    defaultModelsExpandDepth: 0,
    displayRequestDuration: true,
    filter: true,
    validatorUrl: null,
    requestInterceptor: (request) => {
      if (request.loadSpec) Object.assign(request.headers, authorization(token));
      return request;
    },
    onComplete: () => {
      if (token) ui.preauthorizeApiKey("bearer", token);
    },
  });
}

async function open(token) {
  const form = document.getElementById("unlock");
  const answer = await fetch("openapi.json", { method: "HEAD", headers: authorization(token) });
  const locked = answer.status === 401 || answer.status === 403;
  document.getElementById("refused").textContent = locked && token ? "This token is not known here." : "";
  form.hidden = !locked;
  if (!locked) show(token);
  else document.getElementById("token").focus();
}

followColours();
darkness.addEventListener("change", followColours);
document.getElementById("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  open(document.getElementById("token").value.trim());
});
open("");
