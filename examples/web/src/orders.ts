// Orders that move money, each with its Idempotency-Key, kept until their answer is known: a reload, a crash of the tab or an outage
// in the middle sends the same order again, under the same key, and the API answers it with the same row. Nothing is paid twice.
//
// sessionStorage is this tab's own and outlives a reload. No code, no name, no account number is in it.
import { currentUser } from "./session";

export type Order<Body> = { slot: string; key: string; body: Body };

/** Written down before it is sent. */
export function begin<Body>(name: string, body: Body): Order<Body> {
  const order = { slot: slot(name), key: crypto.randomUUID(), body };
  sessionStorage.setItem(order.slot, JSON.stringify(order));
  return order;
}

/** The order of this person that has no answer yet. */
export function unanswered<Body>(name: string): Order<Body> | null {
  return kept<Body>(slot(name));
}

/** Taken or refused: either way this one is over, and another order is another intent with a key of its own. */
export function answered({ slot, key }: Order<unknown>): void {
  if (kept(slot)?.key === key) sessionStorage.removeItem(slot);
}

function kept<Body>(slot: string): Order<Body> | null {
  const order = JSON.parse(sessionStorage.getItem(slot) ?? "null") as Order<Body> | null;
  return order && { ...order, slot };
}

function slot(name: string): string {
  return `octoco:${currentUser().id}:${name}`;
}
