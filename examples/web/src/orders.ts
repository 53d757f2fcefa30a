// Orders that move money, each with its Idempotency-Key, kept until their answer is known: a reload, a crash of the tab or an outage
// in the middle sends the same order again, under the same key, and the API answers it with the same row. Nothing is paid twice.
//
// sessionStorage is this tab's own and outlives a reload. No code, no name, no account number is in it.
import { currentUser } from "./session";

export type Order<Body> = { key: string; body: Body };

/** Written down before it is sent. */
export function begin<Body>(name: string, body: Body): Order<Body> {
  const order = { key: crypto.randomUUID(), body };
  sessionStorage.setItem(slot(name), JSON.stringify(order));
  return order;
}

/** The order of this person that has no answer yet. */
export function unanswered<Body>(name: string): Order<Body> | null {
  return JSON.parse(sessionStorage.getItem(slot(name)) ?? "null") as Order<Body> | null;
}

/** Taken or refused: either way it is over, and another order is another intent with a key of its own. */
export function answered(name: string): void {
  sessionStorage.removeItem(slot(name));
}

function slot(name: string): string {
  return `octoco:${currentUser().id}:${name}`;
}
