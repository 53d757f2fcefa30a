// What the API's words are called on the page.
import type { Transaction } from "./api";

type State = Transaction["state"];

/** Compiles only while it names every state. */
export const stateText: Record<State, string> = {
  initiated: "Being prepared",
  awaiting_payment: "Waiting for your payment",
  reserved: "Being prepared",
  awaiting_approval: "Being checked",
  submitting: "Being paid out",
  submitted: "Being paid out",
  under_review: "Being looked at by a person; the money is safe",
  completed: "Completed",
  failed: "Failed",
  rejected: "Refused",
  expired: "Expired",
  cancelled: "Cancelled",
};

export const isOver: Record<State, boolean> = {
  initiated: false, awaiting_payment: false, reserved: false, awaiting_approval: false, submitting: false,
  submitted: false, under_review: false,
  completed: true, failed: true, rejected: true, expired: true, cancelled: true,
};

/** What may still be taken back by the person; whether it really may, the API says. */
export function mayBeCancelled({ kind, state }: Transaction): boolean {
  if (kind === "deposit") return state === "initiated" || state === "awaiting_payment";
  return kind === "withdrawal" && (state === "initiated" || state === "reserved" || state === "awaiting_approval");
}

/** Whether the checkout still takes money for this deposit: with a reason it is being called off. */
export function isUnpaid({ state, failure_reason }: Transaction): boolean {
  return state === "awaiting_payment" && !failure_reason;
}

/** Whether an answer that came late tells of an older state. Of `updated_at`s as moments: their texts differ in length. */
export function isOlder(updatedAt: string, than: string | undefined): boolean {
  return than !== undefined && Date.parse(updatedAt) < Date.parse(than);
}

/** Codes that have no text here are legible as they are. */
export function inWords(code: string): string {
  const text = code.replaceAll("_", " ");
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** The zone of all times and days on the page. The API takes a date as a day of UTC unless `tz` says otherwise. */
export function timeZone(): string {
  return Intl.DateTimeFormat().resolvedOptions().timeZone;
}

export function when(time: string): string {
  return new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" }).format(new Date(time));
}
