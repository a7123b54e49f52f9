// Sends requests to the service that served this page, and describes failures.

import { say } from "./words.js";

// For each status: what happened, and what to do.
const FAILURES = {
  0: () => [
    say("The service cannot be reached", "Der Dienst ist nicht erreichbar"),
    say("Check that it is running, then try again.", "Bitte prüfen, ob er läuft, und es noch einmal versuchen."),
  ],
  400: () => [say("The request could not be read", "Die Anfrage war nicht lesbar"), ""],
  401: () => [
    say("This service asks for a key", "Dieser Dienst verlangt einen Schlüssel"),
    say("Enter it and classify again.", "Bitte eingeben und noch einmal einordnen."),
  ],
  413: () => [
    say("The ad is too large", "Die Anzeige ist zu groß"),
    say("Shorten it, then classify again.", "Bitte kürzen und noch einmal einordnen."),
  ],
  422: () => [
    say("The ad cannot be used like this", "So lässt sich die Anzeige nicht verwenden"),
    say("The message below says what to change.", "Was zu ändern ist, steht unten."),
  ],
  429: () => [
    say("The service is busy", "Der Dienst ist ausgelastet"),
    say("Try again in a moment.", "Bitte gleich noch einmal versuchen."),
  ],
  500: () => [
    say("The model failed on this ad", "Das Modell ist an dieser Anzeige gescheitert"),
    say("Try again; if it happens again, tell the operator.", "Bitte noch einmal versuchen; wenn es wieder geschieht, den Betreiber benachrichtigen."),
  ],
  503: () => [
    say("The service is not ready", "Der Dienst ist nicht bereit"),
    say("It is starting or shutting down; try again in a moment.", "Er startet oder wird beendet; bitte gleich noch einmal versuchen."),
  ],
  504: () => [
    say("The answer took too long", "Die Antwort hat zu lange gedauert"),
    say("Try again, or with a shorter ad.", "Bitte noch einmal versuchen, vielleicht mit einer kürzeren Anzeige."),
  ],
};

// Its texts are made when they are shown, since the reader may change the language.
export class Failure extends Error {
  constructor(status, { detail = "", wait = "", requestId = "", keyRefused = false, words } = {}) {
    super(detail || `status ${status}`);
    Object.assign(this, { status, detail, wait, requestId, keyRefused, words });
  }

  get title() {
    return this.#words()[0];
  }

  get advice() {
    if (this.keyRefused) return say("The service does not accept this key.", "Der Dienst nimmt diesen Schlüssel nicht an.");
    if (this.wait) return say(`Try again in ${this.wait} s.`, `Bitte in ${this.wait} s noch einmal versuchen.`);
    return this.#words()[1];
  }

  #words() {
    const other = () => [say("Something went wrong", "Etwas ist schiefgegangen"), ""];
    return (this.words ?? FAILURES[this.status] ?? other)();
  }
}

// Returns the answer, and the milliseconds of each stage from the header Server-Timing.
export async function ask(path, key, body) {
  const headers = { accept: "application/json" };
  if (key) headers.authorization = `Bearer ${key}`;
  if (body) headers["content-type"] = "application/json";
  let response;
  try {
    response = await fetch(path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  } catch {
    throw new Failure(0);
  }
  const content = await response.json().catch(() => null);
  if (response.ok && content) return { content, times: timesOf(response.headers.get("server-timing")) };
  // A problem document, or anything else if a proxy answered.
  const { detail = `status ${response.status}`, request_id: id } = content ?? {};
  throw new Failure(response.status, {
    detail: response.status === 401 ? "" : detail,
    wait: response.headers.get("retry-after"),
    requestId: id ?? response.headers.get("x-request-id"),
    keyRefused: response.status === 401 && Boolean(key),
  });
}

function timesOf(header) {
  const stages = (header ?? "").matchAll(/([a-z]+);dur=([\d.]+)/g);
  return Object.fromEntries([...stages].map(([, stage, milliseconds]) => [stage, Number(milliseconds)]));
}
