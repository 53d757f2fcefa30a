// One transaction, and where the checkout leads back to: /deposits/{id}?checkout=success|failure|cancelled. The address only says what
// the browser came from; what became of the money is what the API says, now and as it changes.
import { api, asUser, type Transaction } from "../api";
import { fill, find, keepFocus } from "../dom";
import { onSubmit } from "../forms";
import { follow, onNews } from "../live";
import { format } from "../money";
import { API, type Problem } from "../session";
import { inWords, isOlder, isUnpaid, mayBeCancelled, stateText, when } from "../words";

const HINTS: Record<string, string> = {
  success: "We are waiting for your bank’s word; this page shows it when it comes.",
  failure: "The payment did not go through. You can try again.",
  cancelled: "You left the checkout. You can go back to it, or cancel.",
};

export function transaction(page: HTMLElement, signal: AbortSignal, id: string): void {
  const cameBack = new URLSearchParams(location.search).get("checkout") ?? "";
  const readAgain = async (): Promise<void> => {
    const { data, error } = await api.GET("/v1/transactions/{id}", { params: { path: { id } }, signal });
    if (error) return fill(page, { title: "There is no such transaction", state: error.detail });
    show(page, data, HINTS[cameBack]);
    follow(data, signal);
  };
  onNews((news) => {
    if (news.kind === "missed") void readAgain();
    else if (news.kind === "transaction" && news.transaction.id === id) show(page, news.transaction, HINTS[cameBack]);
  }, signal);
  void readAgain();

  onSubmit(find(page, "#cancel-form"), async () => {
    const kind = find(page, "#state").dataset["kind"] === "deposit" ? "deposits" : "withdrawals";
    const response = await asUser(new Request(`${API}/v1/${kind}/${id}/cancel`, { method: "POST" }));
    await readAgain(); // too late is an answer, too
    return response.ok ? undefined : ((await response.json()) as Problem);
  });
}

/** An answer that comes late does not put an older state over a newer one. */
function show(page: HTMLElement, row: Transaction, hint = ""): void {
  const shown = find(page, "#state").dataset;
  if (isOlder(row.updated_at, shown["at"])) return;
  const why = row.failure_reason ? inWords(row.failure_reason) : "";
  fill(page, {
    title: inWords(row.kind),
    state: stateText[row.state],
    hint: isUnpaid(row) ? hint : why,
    amount: format(row.amount, row.currency),
    created: when(row.created_at),
    completed: row.completed_at ? when(row.completed_at) : "–",
    id: row.id,
  });
  Object.assign(shown, { state: row.state, kind: row.kind, at: row.updated_at });
  const link = find<HTMLAnchorElement>(page, "#checkout");
  keepFocus(page, () => {
    find(page, "#cancel-form").hidden = !mayBeCancelled(row);
    link.hidden = !isUnpaid(row) || !row.checkout_url;
  });
  if (row.checkout_url) link.href = row.checkout_url;
}
