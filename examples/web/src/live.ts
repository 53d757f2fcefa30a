// What changes is told without asking: one stream of GET /v1/events for all tabs. A browser opens six connections to a host over
// HTTP/1.1, so ten tabs with a stream each would leave none for anything else: the tab that holds the lock reads and tells the rest.
// Where the API has no stream, each tab follows the open rows that it shows (poll.ts).
import { asUser, type Balance, type Transaction } from "./api";
import { format } from "./money";
import { poll } from "./poll";
import { pause } from "./retry";
import { API, SignedOut, type User } from "./session";
import { readEvents, type ServerEvent } from "./sse";
import { inWords, stateText } from "./words";

export type News =
  | { kind: "transaction"; transaction: Transaction }
  | { kind: "balance"; balance: Balance }
  | { kind: "missed" }; // nobody knows what: read again what is shown
type Word = News | { kind: "hello" } | { kind: "no-stream" };

/** More than twice the API's heartbeat: a connection that is silent for longer is dead. */
const SILENCE_MS = 60_000;
const listeners = new Set<(news: News) => void>();
let channel: BroadcastChannel | null = null;
let noStream = false;
/** Open rows on the page, by their ids: polled, or ready to be should there be no stream. */
const followed = new Map<string, () => void>();
let lastId: string | null = null;

export function onNews(callback: (news: News) => void, signal: AbortSignal): void {
  listeners.add(callback);
  signal.addEventListener("abort", () => listeners.delete(callback));
}

/** From now until the person signs out. */
export function begin(user: User, signal: AbortSignal): void {
  const name = `octoco-live:${user.id}`;
  [channel, noStream, lastId] = [new BroadcastChannel(name), false, null];
  channel.onmessage = ({ data }: MessageEvent<Word>) => hear(data);
  signal.addEventListener("abort", () => channel?.close());
  document.addEventListener("visibilitychange", () => noStream && !document.hidden && hear({ kind: "missed" }), { signal });
  navigator.locks.request(name, { signal }, () => lead(signal)).catch(() => undefined); // aborted: signed out
  channel.postMessage({ kind: "hello" });
}

/** For rows that are not over: where there is no stream, they are asked for. */
export function follow(transaction: Transaction, signal: AbortSignal): void {
  const { id } = transaction;
  if (followed.has(id)) return;
  const forget = () => followed.delete(id);
  followed.set(id, () => void poll(transaction, publish, signal).then(forget, forget));
  signal.addEventListener("abort", forget);
  if (noStream) followed.get(id)?.();
}

function publish(news: Word): void {
  channel?.postMessage(news);
  hear(news);
}

function hear(word: Word): void {
  if (word.kind === "hello") {
    if (noStream) channel?.postMessage({ kind: "no-stream" });
  } else if (word.kind === "no-stream") {
    if (noStream) return;
    noStream = true;
    for (const start of followed.values()) start();
  } else for (const listener of listeners) listener(word);
}

/** This tab reads for all. The lock goes to the next one when it is closed. */
async function lead(signal: AbortSignal): Promise<void> {
  while (!signal.aborted && !noStream) {
    try {
      await read(signal);
    } catch (error) {
      if (error instanceof SignedOut || signal.aborted) return;
    }
    await pause(500 + Math.random() * 2_000, signal); // not all browsers at once, when a process stops
  }
  await new Promise((resolve) => signal.addEventListener("abort", resolve));
}

async function read(signal: AbortSignal): Promise<void> {
  const silence = new AbortController();
  const headers = { Accept: "text/event-stream", ...(lastId !== null && { "Last-Event-ID": lastId }) };
  const response = await asUser(
    new Request(`${API}/v1/events`, { headers, signal: AbortSignal.any([signal, silence.signal]) }),
  );
  if (response.status === 404) return publish({ kind: "no-stream" });
  if (!response.ok || response.body === null) throw new Error(`events: ${response.status}`);
  if (lastId === null) publish({ kind: "missed" }); // the stream first, then the lists: nothing falls between
  let watch = setTimeout(() => silence.abort(), SILENCE_MS);
  try {
    for await (const event of readEvents(response.body)) {
      clearTimeout(watch);
      watch = setTimeout(() => silence.abort(), SILENCE_MS);
      if (event !== "comment") tell(event);
    }
  } finally {
    clearTimeout(watch);
  }
}

/** `session.ended` needs no word of its own: the stream closes, and the next try to open it says whether one must sign in again. */
function tell({ id, name, data }: ServerEvent): void {
  if (name === "transaction.updated") publish({ kind: "transaction", transaction: JSON.parse(data) });
  else if (name === "balance.updated") publish({ kind: "balance", balance: JSON.parse(data) });
  else if (name === "reset") publish({ kind: "missed" }); // too much, or too long ago, to be told one by one
  lastId = id ?? lastId;
}

/** For whoever hears the page instead of seeing it. */
export function inBrief({ kind, amount, currency, state }: Transaction): string {
  return `${inWords(kind)} of ${format(amount, currency)}: ${stateText[state]}`;
}
