// The account: balances, paying in, taking out, bank accounts, the latest transactions.
import { api, type Balance } from "../api";
import { find, keepFocus, setOptions } from "../dom";
import { onSubmit } from "../forms";
import { onNews } from "../live";
import { currencies, format } from "../money";
import { Reader } from "../reader";
import { bankAccounts } from "./bank-accounts";
import { deposit } from "./deposit";
import { TransactionTable } from "./transaction-table";
import { withdrawal } from "./withdrawal";

const LATEST = 5;

export function account(page: HTMLElement, signal: AbortSignal): void {
  const balances = find(page, "#balances");
  const table = new TransactionTable(find(page, "[data-transactions]"), signal);
  const reader = new Reader(async () => {
    const [money, latest] = await Promise.all([
      api.GET("/v1/balances", { signal }),
      api.GET("/v1/transactions", { params: { query: { page_size: LATEST } }, signal }),
    ]);
    balances.replaceChildren();
    for (const balance of money.data?.balances ?? []) showBalance(balances, balance);
    table.show(latest.data?.data ?? []);
  });
  onNews((news) => {
    reader.doubt();
    if (news.kind === "balance") showBalance(balances, news.balance);
    else if (news.kind === "missed" || !table.update(news.transaction)) reader.start();
  }, signal);
  page.addEventListener("placed", () => reader.start(), { signal });
  reader.start();

  void currencies().then((codes) => {
    for (const select of page.querySelectorAll<HTMLSelectElement>("[data-currencies]")) {
      setOptions(select, codes.map((code) => [code, code]));
    }
  });
  deposit(find(page, "#deposit-form"));
  withdrawal(find(page, "#withdrawal-form"));
  bankAccounts(page, signal);
  void remindToVerify(find(page, "#unverified-form"), signal);
}

/** One line for each currency; the newest word about it counts. */
function showBalance(list: HTMLElement, { currency, available, pending }: Balance): void {
  const line = list.querySelector(`[data-currency=${currency}]`) ?? document.createElement("li");
  line.setAttribute("data-currency", currency);
  const reserved = pending > 0 ? `, ${format(pending, currency)} on its way out` : "";
  line.textContent = `${format(available, currency)} available${reserved}`;
  if (!line.isConnected) list.append(line);
}

async function remindToVerify(form: HTMLFormElement, signal: AbortSignal): Promise<void> {
  onSubmit(form, async () => {
    const { error } = await api.POST("/v1/auth/verify-email/resend");
    keepFocus(find(document, "#main"), () => (form.hidden = !error));
    return error;
  });
  const { data } = await api.GET("/v1/me", { signal });
  form.hidden = !data || Boolean(data.email_verified_at);
}
