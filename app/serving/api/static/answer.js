// Shows both heads' answers as bars, and the facts below them.

import { HEADS, headName, number, percent, say } from "./words.js";

const $ = (id) => document.getElementById(id);

export function showBars(answer, nameOf) {
  $("heads").replaceChildren(...HEADS.map((head) => headOf(head, answer[head], nameOf)));
}

function headOf(head, { top }, nameOf) {
  const section = $("head-template").content.cloneNode(true);
  section.querySelector("section").dataset.head = head;
  section.querySelector("h2").textContent = headName(head);
  section.querySelector("ol").append(...top.map((entry) => barOf(head, entry, nameOf)));
  return section;
}

function barOf(head, { label, probability }, nameOf) {
  const row = $("bar-template").content.cloneNode(true);
  const name = row.querySelector(".name");
  name.textContent = nameOf(head, label);
  name.title = label;
  row.querySelector(".percent").textContent = percent(probability);
  // Set by script: a style attribute would need a looser content security policy.
  row.querySelector(".bar").style.setProperty("--share", (probability * 100).toFixed(2));
  return row;
}

export function showFacts({ tokens, windows, truncated, model }, times) {
  $("cut").hidden = !truncated;
  const read = say(
    `${number(tokens)} tokens in ${windows} ${windows === 1 ? "window" : "windows"}`,
    `${number(tokens)} Tokens in ${windows} Fenster${windows === 1 ? "" : "n"}`,
  );
  $("facts").replaceChildren(
    ...fact(say("Read", "Gelesen"), read + (truncated ? say(", cut", ", gekürzt") : say(", the whole ad", ", die ganze Anzeige"))),
    ...fact(say("Time", "Dauer"), timing(times)),
    ...fact(say("Model", "Modell"), `${model.name}, ${say("revision", "Revision")} ${model.revision}`),
  );
}

function timing({ total, ...stages }) {
  if (total === undefined) return say("unknown", "unbekannt"); // a proxy dropped the header
  const names = {
    tokenize: say("tokens", "Tokens"),
    queue: say("waiting", "Warten"),
    batch: say("model", "Modell"),
    explain: say("explanation", "Erklärung"),
  };
  const short = (milliseconds) => number(milliseconds, milliseconds < 9.5 ? 1 : 0);
  const parts = Object.entries(stages).map(([stage, milliseconds]) => `${names[stage] ?? stage} ${short(milliseconds)}`);
  return `${short(total)} ms (${parts.join(", ")})`;
}

function fact(term, value) {
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  dt.textContent = term;
  dd.textContent = value;
  return [dt, dd];
}
