"use strict";

// Colours and numbers. Runs before the page is laid out, so that it comes up in the right colours.

const darkness = matchMedia("(prefers-color-scheme: dark)");
const stillness = matchMedia("(prefers-reduced-motion: reduce)");

const wantedTheme = () => localStorage.getItem("theme") ?? "auto";

function dress() {
  const wanted = wantedTheme();
  const dark = wanted === "auto" ? darkness.matches : wanted === "dark";
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  colours.clear();
  document.dispatchEvent(new Event("dressed"));
}

// Reading a variable of the style sheet makes the browser lay out the page: once a theme is enough.
const colours = new Map();

function colour(name) {
  if (!colours.has(name)) {
    colours.set(name, getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim());
  }
  return colours.get(name);
}

const grouped = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

function count(number) {
  return grouped.format(number);
}

// Three digits that count.
function short(number) {
  if (number >= 100 || number === 0) return count(number);
  return number.toFixed(number >= 10 ? 1 : 2);
}

function milliseconds(seconds) {
  if (seconds >= 1) return `${short(seconds)} s`;
  return `${short(seconds * 1000)} ms`;
}

function percent(share) {
  const hundredths = share * 100;
  return `${hundredths >= 0.05 && hundredths < 10 ? hundredths.toFixed(1) : hundredths.toFixed(0)} %`;
}

function plural(number, word) {
  return `${count(number)} ${word}${number === 1 ? "" : word.endsWith("ch") ? "es" : "s"}`;
}

darkness.addEventListener("change", dress);
dress();
