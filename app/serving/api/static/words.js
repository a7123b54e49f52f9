// Texts and number formats in the page's two languages.

export let language = navigator.language.toLowerCase().startsWith("de") ? "de" : "en";

export const say = (english, german) => (language === "de" ? german : english);

// At most one decimal: 98.4 %, 0.3 %.
export const percent = (share) =>
  new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(share);

export const number = (value, digits = 0) =>
  new Intl.NumberFormat(language, { maximumFractionDigits: digits }).format(value);

// Percentage points with their sign, as whole numbers: +38, −2.
export const points = (weight) => `${weight < 0 ? "−" : "+"}${number(Math.abs(weight) * 100)}`;

export const HEADS = ["job_category", "min_education"];

export const headName = (head) =>
  head === "job_category" ? say("Job category", "Berufsbereich") : say("Minimum education", "Mindestabschluss");

// Switches the page to a language. The markup's texts are English; data-de holds the German ones.
export function setLanguage(chosen) {
  language = chosen;
  document.documentElement.lang = language;
  for (const part of document.querySelectorAll("[data-de]")) {
    part.dataset.en ??= part.textContent;
    part.textContent = part.dataset[language];
  }
  for (const name of ["placeholder", "aria-label"]) {
    for (const part of document.querySelectorAll(`[data-de-${name}]`)) {
      if (!part.hasAttribute(`data-en-${name}`)) part.setAttribute(`data-en-${name}`, part.getAttribute(name));
      part.setAttribute(name, part.getAttribute(`data-${language}-${name}`));
    }
  }
}
