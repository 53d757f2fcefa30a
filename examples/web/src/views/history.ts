// All transactions: filters, and pages by cursor, which stay right while new rows come.
import { api } from "../api";
import type { components, operations } from "../schema";
import { fill, find, text } from "../dom";
import { onSubmit, whileBusy, type Shown } from "../forms";
import { onNews } from "../live";
import { timeZone } from "../words";
import { TransactionTable } from "./transaction-table";

type Query = NonNullable<operations["getTransactions"]["parameters"]["query"]>;
type Page = components["schemas"]["Page"];
/** The rows that are shown. Their cursors go with these filters and no others, whatever the form says by now. */
type Listed = { filters: Query; first: number; rows: number; page: Page };
const LIMIT = 20;

export function history(page: HTMLElement, signal: AbortSignal): void {
  const table = new TransactionTable(find(page, "[data-transactions]"), signal);
  const form = find<HTMLFormElement>(page, "#filter-form");
  const [newer, older] = [find<HTMLButtonElement>(page, "#previous"), find<HTMLButtonElement>(page, "#next")];
  let listed: Listed = { filters: {}, first: 1, rows: 0, page: { page_size: LIMIT } };

  const read = async (filters: Query, cursor?: string | null, first = (_rows: number) => 1): Promise<Shown | undefined> => {
    const query: Query = { ...filters, limit: LIMIT, ...(cursor && { cursor }) };
    const { data, error } = await api.GET("/v1/transactions", { params: { query }, signal });
    if (error) return error;
    const rows = data.data.length;
    listed = { filters, first: data.page.prev_cursor ? Math.max(1, first(rows)) : 1, rows, page: data.page };
    table.show(data.data);
    const focused = document.activeElement; // a button that is disabled loses it
    [newer.disabled, older.disabled] = [!data.page.prev_cursor, !data.page.next_cursor];
    if (focused === newer && newer.disabled) older.focus();
    if (focused === older && older.disabled) newer.focus();
    fill(page, { total: inWhole(listed) });
    return undefined;
  };
  const onClick = (button: HTMLButtonElement, act: () => Promise<Shown | undefined>) =>
    button.addEventListener("click", () => void whileBusy(form, act));
  onSubmit(form, () => read(filters(form)));
  onClick(newer, () => read(listed.filters, listed.page.prev_cursor, (rows) => listed.first - rows));
  onClick(older, () => read(listed.filters, listed.page.next_cursor, () => listed.first + listed.rows));
  onNews((news) => {
    if (news.kind === "transaction") table.update(news.transaction);
  }, signal);
  form.requestSubmit();
}

/** What is left empty is not asked for. Days are those that the page shows. */
function filters(form: HTMLFormElement): Query {
  const names = ["kind", "state", "from", "to", "q"] as const;
  const given = names.map((name) => [name, text(form, name)]).filter(([, value]) => value !== "");
  return { ...Object.fromEntries(given), tz: timeZone() };
}

/** "Rows 21 to 40 of 100". */
function inWhole({ first, rows, page: { total, total_is } }: Listed): string {
  if (rows === 0) return "No rows";
  const all = typeof total === "number" ? ` of ${total_is === "at_least" ? "at least " : ""}${total}` : "";
  return `Rows ${first} to ${first + rows - 1}${all}`;
}
