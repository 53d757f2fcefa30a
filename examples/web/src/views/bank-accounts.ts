// Where money may go: a list, one more, one less. Numbers come back masked.
import { api, type BankAccount } from "../api";
import { find, setOptions, text } from "../dom";
import { onSubmit } from "../forms";
import { Reader } from "../reader";
import { askForCode } from "./sign-in";

export function bankAccounts(page: HTMLElement, signal: AbortSignal): void {
  const list = find(page, "#bank-accounts");
  const choice = find<HTMLSelectElement>(page, "#withdrawal-form [name=bank_account_id]");
  const form = find<HTMLFormElement>(page, "#bank-account-form");
  const reader = new Reader(async () => {
    const { data } = await api.GET("/v1/bank-accounts", { signal });
    const accounts = data?.data ?? [];
    setOptions(choice, accounts.map((account) => [account.id, called(account)]));
    list.replaceChildren(...accounts.map((account) => line(account, reader)));
  });
  reader.start();

  onSubmit(form, async () => {
    const code = text(form, "totp_code");
    const [account_holder, account_number] = [text(form, "account_holder"), text(form, "account_number")];
    const [branch_code, bank_name] = [text(form, "branch_code"), text(form, "bank_name")];
    const body = { account_holder, account_number, branch_code, bank_name, ...(code !== "" && { totp_code: code }) };
    const { error } = await api.POST("/v1/bank-accounts", { body });
    if (error) return askForCode(form, error);
    form.reset();
    reader.start();
    return undefined;
  });
}

function called({ bank_name, account_number_masked }: BankAccount): string {
  return `${bank_name} ${account_number_masked}`;
}

function line(account: BankAccount, reader: Reader): HTMLElement {
  const item = document.createElement("li");
  const remove = document.createElement("button");
  remove.type = "button";
  remove.textContent = "Remove";
  remove.ariaLabel = `Remove ${called(account)}`;
  remove.addEventListener("click", async () => {
    await api.DELETE("/v1/bank-accounts/{id}", { params: { path: { id: account.id } } });
    reader.start();
  });
  item.append(`${called(account)}, ${account.account_holder} `, remove);
  return item;
}
