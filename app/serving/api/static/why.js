// The explanation: the ad as it was read, each sentence marked with its weight for one head's answer.

import { HEADS, number, percent, points, say } from "./words.js";

const $ = (id) => document.getElementById(id);

// Least weights of a sentence that is marked slightly, clearly, strongly.
const LEVELS = [0.02, 0.08, 0.2];

// The head that is shown first: the one with the heaviest sentence.
export function headToShowFirst({ title, sentences }) {
  const most = (head) => Math.max(0, ...[...sentences, ...(title ? [title] : [])].map((part) => Math.abs(part[head])));
  return HEADS.reduce((best, head) => (most(head) > most(best) ? head : best));
}

export function showWhy(answer, sent, head, nameOf) {
  const { explanation } = answer;
  const { label, probability } = answer[head];
  $("why").dataset.head = head;
  $(`why-${head}`).checked = true;
  const marked = [explanation.title, ...explanation.sentences].some((part) => part && levelOf(part[head]));
  const answered = say(
    `“${nameOf(head, label)}” (${percent(probability)})`,
    `„${nameOf(head, label)}“ (${percent(probability)})`,
  );
  $("why-lead").textContent = marked
    ? say(
        `What speaks for ${answered}. A number tells by how many points that probability would be lower without the sentence before it.`,
        `Was für ${answered} spricht. Eine Zahl sagt, um wie viele Punkte diese Wahrscheinlichkeit ohne den Satz davor niedriger wäre.`,
      )
    : say(
        `No single sentence decides: without any one of them, ${answered} stays within two points.`,
        `Kein Satz allein entscheidet: Ohne jeden einzelnen bleibt ${answered} auf zwei Punkte genau gleich.`,
      );
  $("legend").hidden = !marked;
  $("reading").replaceChildren(...titleOf(explanation, sent, head), ...textOf(explanation, sent, head, answer.truncated));
}

function titleOf({ title }, sent, head) {
  if (!title) return [];
  const line = document.createElement("strong");
  line.append(...part(title.text ?? sent.title.trim(), title[head]));
  return [line, "\n"];
}

function textOf({ text, sentences }, sent, head, truncated) {
  const signs = Array.from(text ?? sent.text); // start and end are in Unicode code points
  const nodes = [];
  let place = 0;
  for (const { start, end, [head]: weight } of sentences) {
    nodes.push(signs.slice(place, start).join(""), ...part(signs.slice(start, end).join(""), weight));
    place = end;
  }
  if (!truncated) nodes.push(signs.slice(place).join(""));
  else nodes.push(" …");
  return nodes;
}

function levelOf(weight) {
  return LEVELS.filter((least) => Math.abs(weight) >= least).length;
}

// The weight shows in the colour, in the line's thickness and as a number.
function part(text, weight) {
  const level = levelOf(weight);
  if (!level) return [text];
  const mark = document.createElement("mark");
  mark.className = weight > 0 ? "for" : "against";
  mark.dataset.level = level;
  const shown = document.createElement("span");
  shown.className = "points";
  shown.ariaHidden = "true";
  shown.textContent = points(weight);
  const spoken = document.createElement("span");
  spoken.className = "spoken";
  const amount = number(Math.abs(weight) * 100);
  spoken.textContent = weight > 0
    ? say(` (${amount} points for it) `, ` (${amount} Punkte dafür) `)
    : say(` (${amount} points against it) `, ` (${amount} Punkte dagegen) `);
  mark.append(text, shown, spoken);
  return [mark];
}
