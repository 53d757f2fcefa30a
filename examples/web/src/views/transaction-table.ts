// A table of transactions whose rows change when there is news of them.
import type { Transaction } from "../api";
import { find, fromTemplate, keepFocus } from "../dom";
import { follow } from "../live";
import { format } from "../money";
import { inWords, isOlder, isOver, stateText, when } from "../words";

/** Where nothing is told, only the newest open rows are asked for. */
const FOLLOWED = 2;

export class TransactionTable {
  private readonly body: HTMLElement;

  constructor(place: HTMLElement, private readonly signal: AbortSignal) {
    place.replaceChildren(fromTemplate("transactions"));
    this.body = find(place, "tbody");
  }

  show(transactions: Transaction[]): void {
    keepFocus(this.body, () => this.body.replaceChildren(...transactions.map(row)));
    const open = transactions.filter(({ state }) => !isOver[state]);
    for (const transaction of open.slice(0, FOLLOWED)) follow(transaction, this.signal);
  }

  /** False where it is not shown. */
  update(transaction: Transaction): boolean {
    const before = this.body.querySelector<HTMLElement>(`[data-id="${transaction.id}"]`);
    if (before && !isOlder(transaction.updated_at, before.dataset["at"])) {
      keepFocus(this.body, () => before.replaceWith(row(transaction)));
    }
    return before !== null;
  }
}

function row(transaction: Transaction): HTMLElement {
  const { id, kind, state, failure_reason, direction, amount, currency, created_at, updated_at } = transaction;
  const line = document.createElement("tr");
  Object.assign(line.dataset, { id, state, at: updated_at });
  const link = document.createElement("a");
  link.href = `/transactions/${id}`;
  link.textContent = transaction.description ?? inWords(kind);
  const why = failure_reason ? `: ${inWords(failure_reason)}` : "";
  const signed = format(direction === "debit" ? -amount : amount, currency);
  for (const content of [when(created_at), link, stateText[state] + why, signed]) {
    line.insertCell().append(content);
  }
  return line;
}
