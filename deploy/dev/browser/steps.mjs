// What scenarios do on the page again and again, and what they answer in the API's place.
import { PATIENCE_MS, sees, submit } from "./world.mjs";

export const TOTAL = "main [role=status]";
export const CHECKOUT = /\/p\/[0-9a-f-]+\/$/;

export async function openCheckout(page, amount) {
  await payIn(page, amount);
  await page.waitForURL(CHECKOUT);
}

export async function payIn(page, amount) {
  await page.locator("#deposit-form [name=currency] option").first().waitFor({ state: "attached" });
  await submit(page, "#deposit-form", { amount });
}

export async function addBankAccount(page, other = {}) {
  const account = { account_holder: "Thandi Nkosi", account_number: "62001234567", branch_code: "250655", bank_name: "FNB" };
  await submit(page, "#bank-account-form", { ...account, ...other });
}

export async function saved(page, button) {
  const [download] = await Promise.all([
    page.waitForEvent("download", { timeout: PATIENCE_MS }),
    page.getByRole("button", { name: button }).click(),
  ]);
  const chunks = [];
  for await (const chunk of await download.createReadStream()) chunks.push(chunk);
  return Buffer.concat(chunks);
}

export async function count(world, { token }, kind) {
  return (await world.call("GET", `/v1/transactions?kind=${kind}`, { token })).data.length;
}

/** As the API answers what it does not do; an outage as one that is long enough for whatever a scenario does meanwhile. */
export function problem(world, status, code) {
  const body = JSON.stringify({ type: "about:blank", title: code, status, code, detail: `refused: ${code}` });
  return { status, contentType: "application/problem+json", headers: { ...readable(world), "Retry-After": "50" }, body };
}

/** What lets the page read an answer that does not come from the API. */
export function readable(world) {
  const headers = { "Access-Control-Allow-Credentials": "true", "Access-Control-Expose-Headers": "Retry-After" };
  return { "Access-Control-Allow-Origin": world.page, ...headers };
}
