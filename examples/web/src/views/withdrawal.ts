// Taking out. Whatever happens between the click and the answer, the same order goes out again under the same key (orders.ts).
import { api } from "../api";
import type { components } from "../schema";
import { find, keepFocus, text } from "../dom";
import { onSubmit, whileBusy, wrongField, type Shown } from "../forms";
import { parse } from "../money";
import { answered, begin, unanswered, type Order } from "../orders";
import { askForCode } from "./sign-in";

type Body = components["schemas"]["NewWithdrawalBody"];

export function withdrawal(form: HTMLFormElement): void {
  onSubmit(form, () => {
    const currency = text(form, "currency");
    const amount = parse(text(form, "amount"), currency);
    if (amount === null) return Promise.resolve(wrongField("amount", "must be an amount such as 150.00"));
    const body = { amount, currency, bank_account_id: text(form, "bank_account_id") };
    return send(form, unanswered<Body>("withdrawal") ?? begin("withdrawal", body)); // the earlier one comes first
  });
  const order = unanswered<Body>("withdrawal");
  if (order !== null) void whileBusy(form, () => send(form, order));
}

/** The code is no part of what is written down: after a reload the API asks for it again. */
async function send(form: HTMLFormElement, order: Order<Body>): Promise<Shown | undefined> {
  const code = text(form, "totp_code");
  const params = { header: { "Idempotency-Key": order.key } };
  const body = { ...order.body, ...(code !== "" && { totp_code: code }) };
  const { error } = await api.POST("/v1/withdrawals", { params, body });
  answered(order);
  if (error) return askForCode(form, error);
  form.reset();
  keepFocus(find(form, "button"), () => (find(form, "[data-code]").hidden = true));
  form.dispatchEvent(new CustomEvent("placed", { bubbles: true }));
  return undefined;
}
