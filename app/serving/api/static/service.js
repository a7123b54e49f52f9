// Asks the service that served this page, and says in words what went wrong.

import { say } from "./words.js";

// What each status means to a person, and what to do.
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
    say("Change it as said below.", "Bitte ändern, wie unten gesagt."),
  ],
  429: () => [
    say("The service is busy", "Der Dienst ist ausgelastet"),
    say("Try again in a moment.", "Bitte gleich noch einmal versuchen."),
  ],
  500: () => [
    say("The model failed on this ad", "Das Modell ist an dieser Anzeige gescheitert"),
    say("Try again; if it happens again, tell its operator.", "Bitte noch einmal versuchen und sonst dem Betreiber melden."),
  ],
  503: () => [
    say("The service is not ready", "Der Dienst ist nicht bereit"),
    say("It is starting or ending; try again in a moment.", "Er startet oder endet; bitte gleich noch einmal versuchen."),
  ],
  504: () => [
    say("The answer took too long", "Die Antwort hat zu lange gedauert"),
    say("Try again, or with a shorter ad.", "Bitte noch einmal versuchen, vielleicht mit einer kürzeren Anzeige."),
  ],
};

// Its words are made when they are asked for: the reader may change the language.
export class Failure extends Error {
  constructor(status, { detail = "", wait = "", requestId = "", keyRefused = false, words } = {}) {
    super(detail || `status ${status}`);
    Object.assign(this, { status, detail, wait, requestId, keyRefused, words });
  }

  get title() {
    return this.#words()[0];
  }

  get advice() {
    if (this.keyRefused) return say("It does not accept this one.", "Diesen nimmt er nicht an.");
    if (this.wait) return say(`Try again in ${this.wait} s.`, `Bitte in ${this.wait} s noch einmal versuchen.`);
    return this.#words()[1];
  }

  #words() {
    const other = () => [say("Something went wrong", "Etwas ist schiefgegangen"), ""];
    return (this.words ?? FAILURES[this.status] ?? other)();
  }
}

// Returns the answer and the milliseconds of each stage, as Server-Timing tells them.
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
  // A problem document; or less, as a proxy in between may send.
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
