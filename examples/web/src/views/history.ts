// All transactions: filters, and pages by cursor, which stay right while new rows come.
import { api } from "../api";
import type { operations } from "../schema";
import { fill, find, text } from "../dom";
import { onSubmit, type Shown } from "../forms";
import { onNews } from "../live";
import { TransactionTable } from "./transaction-table";

type Query = NonNullable<operations["getTransactions"]["parameters"]["query"]>;
const LIMIT = 20;

export function history(page: HTMLElement, signal: AbortSignal): void {
  const table = new TransactionTable(find(page, "[data-transactions]"), signal);
  const form = find<HTMLFormElement>(page, "#filter-form");
  const buttons = { prev: find<HTMLButtonElement>(page, "#previous"), next: find<HTMLButtonElement>(page, "#next") };
  let cursors: { prev?: string | null | undefined; next?: string | null | undefined } = {};

  const read = async (cursor?: string | null): Promise<Shown | undefined> => {
    const query: Query = { ...filters(form), limit: LIMIT, ...(cursor && { cursor }) };
    const { data, error } = await api.GET("/v1/transactions", { params: { query }, signal });
    if (error) return error;
    table.show(data.data);
    cursors = { prev: data.page.prev_cursor, next: data.page.next_cursor };
    buttons.prev.disabled = !cursors.prev;
    buttons.next.disabled = !cursors.next;
    fill(page, { total: data.page.total === null ? "" : `${data.page.total} in all` });
    return undefined;
  };
  onSubmit(form, () => read());
  buttons.prev.addEventListener("click", () => void read(cursors.prev));
  buttons.next.addEventListener("click", () => void read(cursors.next));
  onNews((news) => {
    if (news.kind === "transaction") table.update(news.transaction);
  }, signal);
  form.requestSubmit();
}

/** What is left empty is not asked for. */
function filters(form: HTMLFormElement): Query {
  const names = ["kind", "state", "from", "to", "q"] as const;
  return Object.fromEntries(names.map((name) => [name, text(form, name)]).filter(([, value]) => value !== ""));
}
