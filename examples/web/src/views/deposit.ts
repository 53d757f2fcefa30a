// Paying in: the order is written down, sent, and the browser goes to the provider's checkout. It comes back to
// /deposits/{id}?checkout=… (transaction.ts).
import { api } from "../api";
import type { components } from "../schema";
import { text } from "../dom";
import { onSubmit, whileBusy, wrongField, type Shown } from "../forms";
import { parse } from "../money";
import { answered, begin, unanswered, type Order } from "../orders";

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

async function send({ key, body }: Order<Body>): Promise<Shown | undefined> {
  const { data, error } = await api.POST("/v1/deposits", { params: { header: { "Idempotency-Key": key } }, body });
  answered("deposit");
  if (error) return error;
  // Without a link yet (the provider is slow) its own page shows it as soon as it is there.
  location.assign(data.checkout_url ?? `/deposits/${data.id}`);
  return undefined;
}
