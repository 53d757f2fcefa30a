// The API with the types of its OpenAPI document (`npm run generate`). A token is found, renewed and sent here, and here alone.
import createClient from "openapi-fetch";
import type { components, paths } from "./schema";
import { fetchInTime, patiently } from "./retry";
import { API, accessToken, distrust, untilSignedOut, type Problem } from "./session";

export type Transaction = components["schemas"]["TransactionView"];
export type Balance = components["schemas"]["BalanceView"];
export type BankAccount = components["schemas"]["BankAccountView"];

/** Calls that anybody may make. */
export const anyone = createClient<paths>({ baseUrl: API, fetch: fetchInTime });

/** Calls of whoever is signed in. */
export const api = createClient<paths>({ baseUrl: API, fetch: asUser });

/**
 * What may be repeated is repeated until there is an answer: reads, deletions, and what an Idempotency-Key makes happen once. But only
 * for as long as whoever made the call is signed in: the next token may be somebody else's.
 */
export async function asUser(request: Request): Promise<Response> {
  const own = new Request(request, { signal: AbortSignal.any([request.signal, untilSignedOut()]) });
  const isRepeatable = ["GET", "DELETE"].includes(own.method) || own.headers.has("Idempotency-Key");
  return isRepeatable ? patiently(() => once(own), own.signal) : once(own);
}

async function once(request: Request): Promise<Response> {
  const token = await accessToken();
  const response = await fetchInTime(withToken(request, token));
  if (response.status !== 401 || (await codeOf(response)) !== "unauthenticated") return response;
  distrust(token); // it ran out on the way, or the keys were changed; whether the session lives, the refresh says
  return fetchInTime(withToken(request, await accessToken()));
}

function withToken(request: Request, token: string): Request {
  const copy = request.clone();
  copy.headers.set("Authorization", `Bearer ${token}`);
  return copy;
}

async function codeOf(response: Response): Promise<Problem["code"] | undefined> {
  const problem = (await response.clone().json().catch(() => null)) as Problem | null;
  return problem?.code;
}
