// The try-it page: sends one ad to the service that served this page and shows both heads' answers.

import { showBars, showFacts } from "./answer.js";
import { EXAMPLES } from "./examples.js";
import { Failure, ask } from "./service.js";
import { curl, python } from "./snippets.js";
import { showWhy, headToShowFirst } from "./why.js";
import { HEADS, headName, language, percent, say, setLanguage } from "./words.js";

const $ = (id) => document.getElementById(id);

let names = null; // display names by head and label; null until /model has answered
let shown = null; // the last result: a failure, or an answer with the ad that was sent
let busy = false;

const key = () => $("key").value.trim(); // kept in the input field only, never in the browser's storage
const chosen = (name) => document.querySelector(`input[name=${name}]:checked`).value;
const nameOf = (head, label) => names?.[head]?.[label]?.[language] ?? label;

async function loadModel() {
  const { content: model } = await ask("model", key());
  names = Object.fromEntries(
    Object.entries(model.heads).map(([head, { labels }]) => [
      head,
      Object.fromEntries(labels.map(({ label, names }) => [label, names ?? {}])),
    ]),
  );
  $("model").textContent = `${model.name} · ${model.revision} · ${model.device}`;
  $("model").hidden = false;
  $("explain-field").hidden = !model.limits.explain;
}

async function start() {
  try {
    await loadModel();
    if (shown instanceof Failure) show(null);
  } catch (failure) {
    // Set only when it changes, so that a screen reader does not repeat it.
    if (failure.status !== shown?.status) show(failure);
    // The page is served while the model is still loading.
    if (failure.status === 503) setTimeout(start, 1500);
  }
}

async function classify(event) {
  event.preventDefault();
  if (busy) return;
  if (!$("text").value.trim()) {
    show(new Failure(-1, { words: () => [say("There is no ad yet", "Noch keine Anzeige"), say("Paste its text first.", "Bitte zuerst den Text einfügen.")] }));
    $("text").focus();
    return;
  }
  setBusy(true);
  try {
    if (!names) await loadModel();
    const sent = request();
    const { content: answer, times } = await ask("classify", key(), sent);
    show({ answer, times, sent, head: answer.explanation && headToShowFirst(answer.explanation) });
  } catch (failure) {
    show(failure);
  } finally {
    setBusy(false);
  }
  reveal();
}

function request() {
  const ad = { text: $("text").value };
  if ($("title").value.trim()) ad.title = $("title").value;
  if (chosen("format") !== "text") ad.format = chosen("format");
  ad.top_k = Number($("top").value);
  if ($("explain").checked && !$("explain-field").hidden) ad.explain = true;
  return ad;
}

function setBusy(now) {
  busy = now;
  $("result").setAttribute("aria-busy", String(now));
  $("send").setAttribute("aria-disabled", String(now)); // `disabled` would lose the focus
  if (now) announce(say("Classifying …", "Wird eingeordnet …"));
}

function show(outcome) {
  shown = outcome;
  render();
  announce(spoken());
  if (outcome?.status === 401) {
    $("key-field").hidden = false;
    $("key").focus();
  }
}

// Shows everything again in the current language.
function render() {
  const failed = shown instanceof Error;
  const answered = Boolean(shown) && !failed;
  for (const [id, now] of [["empty", !shown], ["error", failed], ["answer", answered], ["request", answered], ["why", answered && Boolean(shown.head)]]) {
    $(id).hidden = !now;
  }
  if (failed) renderFailure(shown);
  if (answered) renderAnswer(shown);
}

function renderFailure(failure) {
  // Any other error is a fault of this page, for the console.
  if (!(failure instanceof Failure)) throw failure;
  $("error-title").textContent = failure.title;
  $("error-advice").textContent = failure.advice;
  $("error-detail").textContent = failure.detail;
  $("error-id").textContent = failure.requestId ? say("Request ", "Anfrage ") + failure.requestId : "";
}

function renderAnswer({ answer, times, sent, head }) {
  showBars(answer, nameOf);
  showFacts(answer, times);
  if (head) showWhy(answer, sent, head, nameOf);
  showCode();
}

function showCode() {
  const { answer, sent } = shown;
  const address = new URL("./", location.href).href;
  const kinds = {
    curl: () => curl(address, sent, Boolean(key())),
    python: () => python(address, sent, Boolean(key())),
    json: () => JSON.stringify(answer, null, 2),
  };
  $("code").textContent = kinds[chosen("kind")]();
  $("copied").textContent = "";
}

// For screen readers: one sentence instead of all bars.
function spoken() {
  if (!shown) return "";
  if (shown instanceof Error) return [shown.title, shown.advice, shown.detail].filter(Boolean).join(". ");
  const { answer } = shown;
  return HEADS.map((head) => `${headName(head)}: ${nameOf(head, answer[head].label)}, ${percent(answer[head].probability)}.`).join(" ");
}

function announce(sentence) {
  $("status").textContent = sentence;
}

// On a phone the answer lies below the form.
function reveal() {
  if (document.activeElement !== $("key")) $("result").scrollIntoView({ block: "nearest" });
}

function fillIn({ currentTarget }) {
  const { title, text, format } = EXAMPLES[currentTarget.dataset.example];
  $("title").value = title;
  $("text").value = text;
  $(`format-${format}`).checked = true;
  if (!(shown instanceof Failure && shown.status === 401)) show(null);
  $("send").focus();
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("code").textContent);
  } catch {
    // Without HTTPS or permission, browsers only have the older command.
    getSelection().selectAllChildren($("code"));
    document.execCommand("copy");
    getSelection().removeAllRanges();
  }
  $("copied").textContent = say("Copied", "Kopiert");
}

function changeLanguage() {
  setLanguage(chosen("language"));
  render();
}

$(`language-${language}`).checked = true;
setLanguage(language);
$("form").addEventListener("submit", classify);
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
const on = (selector, kind, act) => document.querySelectorAll(selector).forEach((part) => part.addEventListener(kind, act));
on("[data-example]", "click", fillIn);
on("input[name=language]", "change", changeLanguage);
on("input[name=kind]", "change", showCode);
on("input[name=head]", "change", () => {
  shown.head = chosen("head");
  renderAnswer(shown);
});
$("copy").addEventListener("click", copy);
start();
