// A customer's way through the API with the types of its OpenAPI document, as a frontend would write it. Compiling it is the test.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

type Transaction = components["schemas"]["TransactionView"];
type State = Transaction["state"];
type Code = components["schemas"]["Problem"]["code"];

const isOver: Record<State, boolean> = {
  initiated: false, awaiting_payment: false, reserved: false, awaiting_approval: false, submitting: false, submitted: false,
  under_review: false,
  completed: true, failed: true, rejected: true, expired: true, cancelled: true,
};

/** Asks the person for a code of the authenticator. */
type AskCode = () => Promise<string>;

export async function payInAndOut(
  baseUrl: string, email: string, password: string, askCode: AskCode,
): Promise<Transaction[]> {
  const client = createClient<paths>({ baseUrl, credentials: "include" });

  const registered = await client.POST("/v1/auth/register", { body: { email, password, full_name: "Thandi Nkosi" } });
  if (registered.error) throw refused(registered.error);

  let login = await client.POST("/v1/auth/login", { body: { email, password } });
  if (login.error?.code === "totp_required") {
    login = await client.POST("/v1/auth/login", { body: { email, password, totp_code: await askCode() } });
  }
  if (login.error) throw refused(login.error);
  const headers = { Authorization: `Bearer ${login.data.access_token}` };

  const deposit = await client.POST("/v1/deposits", {
    headers,
    params: { header: { "Idempotency-Key": crypto.randomUUID() } },
    body: { amount: 150_000, currency: "ZAR" },
  });
  if (deposit.error) throw refused(deposit.error);
  const checkout: string | null | undefined = deposit.data.checkout_url;
  if (checkout) location.assign(checkout);

  const account = await client.POST("/v1/bank-accounts", {
    headers,
    body: { account_number: "62001234567", branch_code: "250655", account_holder: "Thandi Nkosi", bank_name: "FNB" },
  });
  if (account.error) throw refused(account.error);

  const params = { header: { "Idempotency-Key": crypto.randomUUID() } };
  const order = { amount: 50_000, currency: "ZAR", bank_account_id: account.data.id };
  let withdrawal = await client.POST("/v1/withdrawals", { headers, params, body: order });
  if (withdrawal.error?.code === "totp_required") {
    withdrawal = await client.POST("/v1/withdrawals", { headers, params, body: { ...order, totp_code: await askCode() } });
  }
  if (withdrawal.error) {
    const code: Code = withdrawal.error.code;
    if (code !== "insufficient_funds") throw refused(withdrawal.error);
    console.log("not covered; see", withdrawal.error.transaction_id);
  }

  const quieter = await client.PATCH("/v1/me", { headers, body: { notifications: { deposits: false } } });
  if (quieter.error) throw refused(quieter.error);

  const listed = await client.GET("/v1/transactions", {
    headers,
    params: { query: { kind: "withdrawal", state: "completed" } },
  });
  if (listed.error) throw refused(listed.error);
  return listed.data.data.filter((transaction) => isOver[transaction.state]);
}

function refused(problem: components["schemas"]["Problem"]): Error {
  const fields = (problem.errors ?? []).map((error) => `${error.field} ${error.message}`);
  return new Error(`${problem.code}: ${problem.detail} ${fields.join(", ")} (${problem.request_id ?? "no id"})`);
}

// What the document forbids must not compile: each line fails the check if it does.
export async function mistakes(baseUrl: string): Promise<void> {
  const client = createClient<paths>({ baseUrl });
  const header = { "Idempotency-Key": "k" };
  // @ts-expect-error the key is required
  await client.POST("/v1/deposits", { body: { amount: 1, currency: "ZAR" } });
  // @ts-expect-error amounts are numbers
  await client.POST("/v1/deposits", { params: { header }, body: { amount: "1", currency: "ZAR" } });
  // @ts-expect-error ids are texts
  await client.GET("/v1/transactions/{id}", { params: { path: { id: 1 } } });
  // @ts-expect-error there is no such route
  await client.GET("/v1/nothing", {});
}
