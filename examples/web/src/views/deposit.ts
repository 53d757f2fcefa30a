// Paying in: the order is written down, sent, and the browser goes to the provider's checkout. It comes back to
// /deposits/{id}?checkout=… (transaction.ts).
import { api } from "../api";
import type { components } from "../schema";
import { text } from "../dom";
import { onSubmit, whileBusy, wrongField, type Shown } from "../forms";
import { parse } from "../money";
import { answered, begin, unanswered, type Order } from "../orders";
import { isUnpaid } from "../words";

const LEAVING_MS = 30_000;

type Body = components["schemas"]["NewDepositBody"];

export function deposit(form: HTMLFormElement): void {
  onSubmit(form, () => {
    const currency = text(form, "currency");
    const amount = parse(text(form, "amount"), currency);
    if (amount === null) return Promise.resolve(wrongField("amount", "must be an amount such as 150.00"));
    return send(unanswered<Body>("deposit") ?? begin("deposit", { amount, currency }));
  });
  const order = unanswered<Body>("deposit");
  if (order !== null) void whileBusy(form, () => send(order));
}

async function send(order: Order<Body>): Promise<Shown | undefined | void> {
  const params = { header: { "Idempotency-Key": order.key } };
  const { data, error } = await api.POST("/v1/deposits", { params, body: order.body });
  answered(order);
  if (error) return error;
  // Its own page where there is no link yet (the provider is slow), or no more use for it: an order sent again is answered as it is now.
  location.assign((isUnpaid(data) && data.checkout_url) || `/deposits/${data.id}`);
  return left();
}

/** Another click while the checkout loads would be another deposit: busy, until the browser comes back to the page as it was left, or stays. */
function left(): Promise<Shown | void> {
  return new Promise((resolve) => {
    window.addEventListener("pageshow", ({ persisted }) => persisted && resolve());
    setTimeout(() => resolve({ detail: "The checkout does not open. Your deposit is among your transactions: try it there." }), LEAVING_MS);
  });
}
