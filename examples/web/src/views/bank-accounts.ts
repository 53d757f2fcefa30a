// Where money may go: a list, one more, one less. Numbers come back masked.
import { api, type BankAccount } from "../api";
import { find, keepFocus, setOptions, text } from "../dom";
import { onSubmit, whileBusy, type Shown } from "../forms";
import { Reader } from "../reader";
import { askForCode } from "./sign-in";

export function bankAccounts(page: HTMLElement, signal: AbortSignal): void {
  const list = find(page, "#bank-accounts");
  const choice = find<HTMLSelectElement>(page, "#withdrawal-form [name=bank_account_id]");
  const [added, removed] = [find<HTMLFormElement>(page, "#bank-account-form"), find<HTMLFormElement>(page, "#removal-form")];
  const reader = new Reader(async () => {
    const { data } = await api.GET("/v1/bank-accounts", { signal });
    if (!data) return;
    const lines = data.data.map((account) => line(account, () => void whileBusy(removed, () => remove(account).finally(readAgain))));
    setOptions(choice, data.data.map((account) => [account.id, called(account)]));
    keepFocus(list, () => list.replaceChildren(...lines));
  });
  /** After any answer: a refusal, too, may tell of something that is not on the page. */
  const readAgain = () => reader.start();
  readAgain();

  onSubmit(added, () => add(added).finally(readAgain));
}

/** Its key is kept nowhere, unlike an order's (orders.ts): no account number is to be in a storage. After a reload the list tells. */
async function add(form: HTMLFormElement): Promise<Shown | undefined> {
  const code = text(form, "totp_code");
  const [account_holder, account_number] = [text(form, "account_holder"), text(form, "account_number")];
  const [branch_code, bank_name] = [text(form, "branch_code"), text(form, "bank_name")];
  const body = { account_holder, account_number, branch_code, bank_name, ...(code !== "" && { totp_code: code }) };
  const params = { header: { "Idempotency-Key": crypto.randomUUID() } };
  const { error } = await api.POST("/v1/bank-accounts", { params, body });
  if (error) return askForCode(form, error);
  form.reset();
  return undefined;
}

/** Sent until there is an answer, so one that is not there is gone: an answer may have been lost. */
async function remove({ id }: BankAccount): Promise<Shown | undefined> {
  const { error, response } = await api.DELETE("/v1/bank-accounts/{id}", { params: { path: { id } } });
  return response.status === 404 ? undefined : error;
}

function called({ bank_name, account_number_masked }: BankAccount): string {
  return `${bank_name} ${account_number_masked}`;
}

function line(account: BankAccount, remove: () => void): HTMLElement {
  const item = document.createElement("li");
  item.dataset["id"] = account.id;
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Remove";
  button.ariaLabel = `Remove ${called(account)}`;
  button.addEventListener("click", remove);
  item.append(`${called(account)}, ${account.account_holder} `, button);
  return item;
}
