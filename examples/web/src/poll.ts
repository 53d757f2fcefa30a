// One open row, asked for until it is over: by the long poll, or, where the API has none, ever more slowly.
import { api, asUser, type Transaction } from "./api";
import type { News } from "./live";
import { pause } from "./retry";
import { API } from "./session";
import { isOver } from "./words";

const WAIT_SECS = 25;
const SLOWEST_MS = 15_000;

export async function poll(transaction: Transaction, publish: (news: News) => void, signal: AbortSignal): Promise<void> {
  let [known, canWait, pauseMs] = [transaction, true, 1_000];
  while (!isOver[known.state]) {
    await shown(signal);
    let next = canWait ? await longPoll(known, signal) : null;
    if (next === null) {
      canWait = false;
      await pause(pauseMs, signal);
      pauseMs = Math.min(pauseMs * 1.5, SLOWEST_MS);
      const answer = await api.GET("/v1/transactions/{id}", { params: { path: { id: known.id } }, signal });
      next = answer.data ?? known;
    }
    if (next.state === known.state) continue;
    known = next;
    publish({ kind: "transaction", transaction: known });
    publish({ kind: "missed" }); // the balance has changed too, most likely
  }
}

/** Null where the API does not know how to wait. */
async function longPoll({ id, state }: Transaction, signal: AbortSignal): Promise<Transaction | null> {
  const query = new URLSearchParams({ wait: String(WAIT_SECS), state_not: state });
  const response = await asUser(new Request(`${API}/v1/transactions/${id}?${query}`, { signal }));
  return response.ok ? ((await response.json()) as Transaction) : null;
}

/** A tab that nobody looks at asks for nothing. */
function shown(signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const look = () => document.hidden || resolve();
    document.addEventListener("visibilitychange", look, { signal });
    signal.addEventListener("abort", () => reject(signal.reason));
    look();
  });
}
