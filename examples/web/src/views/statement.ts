// What happened in the wallet from a day to another, as the ledger booked it: on the page, or as a file.
import { api, asUser } from "../api";
import type { components } from "../schema";
import { fill, find, save, setOptions, text } from "../dom";
import { onSubmit, type Shown } from "../forms";
import { currencies, format } from "../money";
import { API, type Problem } from "../session";
import { inWords, timeZone, when } from "../words";

type Statement = components["schemas"]["StatementView"];

export function statement(page: HTMLElement): void {
  const form = find<HTMLFormElement>(page, "#statement-form");
  const now = new Date();
  const day = (date: Date) => date.toLocaleDateString("sv"); // as 2026-01-31
  find<HTMLInputElement>(form, "[name=from]").value = day(new Date(now.getFullYear(), now.getMonth(), 1));
  find<HTMLInputElement>(form, "[name=to]").value = day(new Date(now.getFullYear(), now.getMonth(), now.getDate() + 1));
  void currencies().then((codes) => setOptions(find(form, "[name=currency]"), codes.map((code) => [code, code])));

  let wanted = "json";
  form.addEventListener("submit", ({ submitter }) => (wanted = (submitter as HTMLButtonElement | null)?.value ?? "json"), true);
  onSubmit(form, () => (wanted === "json" ? show(page, form) : download(form, wanted)));
}

function query(form: HTMLFormElement): { currency: string; from: string; to: string; tz: string } {
  return { currency: text(form, "currency"), from: text(form, "from"), to: text(form, "to"), tz: timeZone() };
}

async function show(page: HTMLElement, form: HTMLFormElement): Promise<Shown | undefined> {
  const { data, error } = await api.GET("/v1/statements", { params: { query: query(form) } });
  if (error) return error;
  const { currency, opening_balance, closing_balance, lines } = data as Statement; // no format is JSON
  fill(page, { opening: format(opening_balance, currency), closing: format(closing_balance, currency) });
  find(page, "#lines").replaceChildren(
    ...lines.map(({ at, kind, amount, running_balance }) => {
      const row = document.createElement("tr");
      const cells = [when(at), inWords(kind), format(amount, currency), format(running_balance, currency)];
      for (const cell of cells) row.insertCell().textContent = cell;
      return row;
    }),
  );
  find(page, "#shown").hidden = false;
  return undefined;
}

async function download(form: HTMLFormElement, format: string): Promise<Shown | undefined> {
  const asked = query(form);
  const response = await asUser(new Request(`${API}/v1/statements?${new URLSearchParams({ ...asked, format })}`));
  if (!response.ok) return (await response.json()) as Problem;
  save(await response.blob(), `statement-${asked.from}-${asked.to}.${format}`);
  return undefined;
}
