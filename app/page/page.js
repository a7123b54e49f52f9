// The try-it page: sends one ad to the service that served this page and shows both heads' answers.

const german = navigator.language.toLowerCase().startsWith("de");
const language = german ? "de" : "en";
const say = (english, deutsch) => (german ? deutsch : english);
const $ = (id) => document.getElementById(id);

const percent = new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 });
const whole = new Intl.NumberFormat(language);

const HEADS = {
  job_category: say("Job category", "Berufsbereich"),
  min_education: say("Minimum education", "Mindestabschluss"),
};

const EXAMPLES = {
  nurse: {
    title: "Pflegefachkraft (m/w/d) für die Innere Medizin",
    text: `Unser Kreiskrankenhaus sucht zum nächstmöglichen Zeitpunkt Verstärkung für die Station 3 der Inneren Medizin, in Vollzeit oder Teilzeit.

Ihre Aufgaben
• Sie planen die Pflege, führen sie durch und dokumentieren sie.
• Sie überwachen Vitalzeichen, verabreichen Medikamente und begleiten Visiten.
• Sie beraten Patientinnen, Patienten und Angehörige.

Ihr Profil
• Abgeschlossene dreijährige Ausbildung als Pflegefachfrau, Pflegefachmann oder in der Gesundheits- und Krankenpflege
• Bereitschaft zum Dienst in drei Schichten
• Freude an der Arbeit im Team

Wir bieten Vergütung nach Tarif, 30 Tage Urlaub und eine strukturierte Einarbeitung.`,
  },
  bakery: {
    title: "Verkäufer (m/w/d) in der Bäckerei",
    text: `Für unsere Filiale am Markt suchen wir ein freundliches Gesicht hinter der Theke, 25 bis 30 Stunden in der Woche.

Das erwartet Sie
• Brot, Brötchen und Kuchen verkaufen und unsere Gäste beraten
• Snacks belegen, Kaffee zubereiten und Waren appetitlich anrichten
• Kasse führen und abends die Filiale abschließen

Das bringen Sie mit
• Spaß am Umgang mit Menschen
• Eine Ausbildung im Verkauf ist schön, aber kein Muss: Wir lernen Sie gern an, auch im Quereinstieg.
• Sie stehen früh auf, auch an einem Samstag im Monat.`,
  },
};

// What each status means to a person; the service's own sentence follows it.
const FAILURES = {
  400: say("The request could not be read", "Die Anfrage war nicht lesbar"),
  401: say("This service asks for a key", "Dieser Dienst verlangt einen Schlüssel"),
  413: say("The ad is too large", "Die Anzeige ist zu groß"),
  422: say("The ad cannot be used like this", "So lässt sich die Anzeige nicht verwenden"),
  429: say("The service is busy", "Der Dienst ist ausgelastet"),
  503: say("The service is not ready", "Der Dienst ist nicht bereit"),
  504: say("The answer took too long", "Die Antwort hat zu lange gedauert"),
};

class Failure extends Error {
  constructor(status, title, detail, requestId) {
    super(detail);
    Object.assign(this, { status, title, requestId });
  }
}

let names = {}; // by head and label, once the model has been asked
let busy = false;

async function ask(path, body) {
  const headers = { accept: "application/json" };
  const key = $("key").value.trim(); // lives in the field alone, never in a store
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Failure(
      0,
      say("The service cannot be reached", "Der Dienst ist nicht erreichbar"),
      say("Check that it is running, then try again.", "Bitte prüfen, ob er läuft, und es noch einmal versuchen."),
    );
  }
  const content = await response.json().catch(() => null);
  if (response.ok && content) return content;
  throw failureOf(response, content ?? {}, key);
}

// Takes a problem document, and makes do with less, as a proxy in between may send.
function failureOf({ status, headers }, { title, detail, request_id: id }, key) {
  const wait = headers.get("retry-after");
  let sentence = detail ?? say(`The service answered with status ${status}.`, `Der Dienst antwortete mit Status ${status}.`);
  if (wait) sentence += say(` Try again in ${wait} s.`, ` In ${wait} s noch einmal versuchen.`);
  if (status === 401) {
    sentence = key
      ? say("It does not accept this one.", "Diesen nimmt er nicht an.")
      : say("Enter it and classify again.", "Bitte eingeben und noch einmal einordnen.");
  }
  return new Failure(
    status,
    FAILURES[status] ?? title ?? say("Something went wrong", "Etwas ist schiefgegangen"),
    sentence,
    id ?? headers.get("x-request-id"),
  );
}

async function loadModel() {
  const model = await ask("model");
  names = Object.fromEntries(
    Object.entries(model.heads).map(([head, { labels }]) => [
      head,
      Object.fromEntries(labels.map(({ label, names }) => [label, names?.[language] ?? label])),
    ]),
  );
  $("model").textContent = `${model.name} · ${model.revision} · ${model.device}`;
  $("model").hidden = false;
}

async function start() {
  try {
    await loadModel();
    if (!$("error").hidden) show("empty");
  } catch (failure) {
    if (failure.status !== 503) return showFailure(failure);
    // The page is there before the model is; said once, so that a screen reader does not repeat it.
    if ($("error").hidden) showFailure(failure);
    setTimeout(start, 1500);
  }
}

async function classify(event) {
  event.preventDefault();
  if (busy) return;
  if (!$("text").value.trim()) {
    showFailure(new Failure(0, say("There is no ad yet", "Noch keine Anzeige"), say("Paste its text first.", "Bitte zuerst den Text einfügen.")));
    $("text").focus();
    return;
  }
  setBusy(true);
  try {
    if (!Object.keys(names).length) await loadModel();
    const ad = { text: $("text").value, top_k: 3 };
    if ($("title").value.trim()) ad.title = $("title").value;
    const start = performance.now();
    const answer = await ask("classify", ad);
    showAnswer(answer, performance.now() - start);
  } catch (failure) {
    showFailure(failure);
  } finally {
    setBusy(false);
  }
  reveal();
}

function setBusy(now) {
  busy = now;
  $("result").setAttribute("aria-busy", String(now));
  $("send").setAttribute("aria-disabled", String(now)); // `disabled` would lose the focus
}

function show(part) {
  for (const id of ["empty", "error", "answer"]) $(id).hidden = id !== part;
}

function showAnswer(answer, milliseconds) {
  $("heads").replaceChildren(...Object.keys(HEADS).map((head) => headOf(head, answer[head])));
  $("cut").hidden = !answer.truncated;
  $("facts").replaceChildren(
    ...fact(say("Read", "Gelesen"), whatWasRead(answer)),
    ...fact(say("Model", "Modell"), `${answer.model.name} · ${answer.model.revision}`),
    ...fact(say("Time", "Dauer"), `${whole.format(Math.round(milliseconds))} ms`),
  );
  $("json").textContent = JSON.stringify(answer, null, 2);
  show("answer");
}

function headOf(head, { top }) {
  const section = $("head-template").content.cloneNode(true);
  section.querySelector("section").dataset.head = head;
  section.querySelector("h2").textContent = HEADS[head];
  section.querySelector("ol").append(...top.map((entry) => barOf(head, entry)));
  return section;
}

function barOf(head, { label, probability }) {
  const row = $("bar-template").content.cloneNode(true);
  const name = row.querySelector(".name");
  name.textContent = names[head]?.[label] ?? label;
  name.title = label;
  row.querySelector(".percent").textContent = percent.format(probability);
  // Set through the object model: a style attribute would need a looser content security policy.
  row.querySelector(".bar").style.setProperty("--share", (probability * 100).toFixed(2));
  return row;
}

function whatWasRead({ tokens, windows, truncated }) {
  const amount = say(
    `${whole.format(tokens)} tokens in ${windows} ${windows === 1 ? "window" : "windows"}`,
    `${whole.format(tokens)} Tokens in ${windows} Fenster${windows === 1 ? "" : "n"}`,
  );
  return amount + (truncated ? say(", cut", ", gekürzt") : say(", the whole ad", ", die ganze Anzeige"));
}

function fact(term, value) {
  const dt = document.createElement("dt");
  const dd = document.createElement("dd");
  dt.textContent = term;
  dd.textContent = value;
  return [dt, dd];
}

function showFailure(failure) {
  // Anything else is a mistake of this page and belongs into the console.
  if (!(failure instanceof Failure)) throw failure;
  $("error-title").textContent = failure.title;
  $("error-detail").textContent = failure.message;
  $("error-id").textContent = failure.requestId ? say("Request ", "Anfrage ") + failure.requestId : "";
  show("error");
  if (failure.status === 401) {
    $("key-field").hidden = false;
    $("key").focus();
  }
}

// On a phone the answer lies below the form.
function reveal() {
  if (document.activeElement !== $("key")) $("result").scrollIntoView({ block: "nearest" });
}

function fillIn({ currentTarget }) {
  const { title, text } = EXAMPLES[currentTarget.dataset.example];
  $("title").value = title;
  $("text").value = text;
  show("empty");
  $("send").focus();
}

function translate() {
  document.documentElement.lang = language;
  if (!german) return;
  for (const part of document.querySelectorAll("[data-de]")) part.textContent = part.dataset.de;
  for (const attribute of ["placeholder", "aria-label"]) {
    for (const part of document.querySelectorAll(`[data-de-${attribute}]`)) {
      part.setAttribute(attribute, part.getAttribute(`data-de-${attribute}`));
    }
  }
}

translate();
$("form").addEventListener("submit", classify);
$("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    $("form").requestSubmit();
  }
});
for (const button of document.querySelectorAll("[data-example]")) button.addEventListener("click", fillIn);
start();
