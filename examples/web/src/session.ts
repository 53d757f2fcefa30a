// Who is signed in. The refresh token is in an HttpOnly cookie that no script sees; the access token is in this variable and
// nowhere else. Only a 401 of the refresh signs out: an outage never does.
//
// Tabs share one cookie, so they take turns (Web Locks), and whoever has renewed tells the others (BroadcastChannel).
import type { components } from "./schema";
import { fetchInTime, patiently } from "./retry";

export const API: string = import.meta.env["VITE_API_URL"] ?? "http://127.0.0.1:8080";

export type User = components["schemas"]["UserView"];
export type Problem = components["schemas"]["Problem"];
type Answer = components["schemas"]["TokenView"];
type Token = { text: string; renewAt: number; user: User };

/** There is nobody signed in (any more). */
export class SignedOut extends Error {}

/** The API refuses this page the cookie: another site, or an origin that it does not know (README.md). */
export class Refused extends Error {}

const LOCK = "octoco-session";
const tabs = new BroadcastChannel(LOCK);
let token: Token | null = null;
let presence = new AbortController();
let renewal: Promise<void> | null = null;
let listener = (_user: User | null): void => undefined;

/** Calls back when somebody signs in or out, here or in another tab. */
export function onUser(callback: (user: User | null) => void): void {
  listener = callback;
}

export function currentUser(): User {
  if (token === null) throw new SignedOut();
  return token.user;
}

/** Aborted as soon as somebody else is signed in, or nobody: what a person began is never ended, or sent, as another's. */
export function untilSignedOut(): AbortSignal {
  if (token === null) throw new SignedOut();
  return presence.signal;
}

/** A token that is good for some time; renewed when it is not. Waits through outages. */
export async function accessToken(): Promise<string> {
  if (token === null || !isFresh()) {
    renewal ??= renew().finally(() => (renewal = null));
    await renewal;
  }
  if (token === null) throw new SignedOut();
  return token.text;
}

/** The API did not take this token, whatever its clock says. */
export function distrust(text: string): void {
  if (token?.text === text) token.renewAt = 0;
}

function isFresh(): boolean {
  return token !== null && Date.now() < token.renewAt;
}

async function renew(): Promise<void> {
  // The lock is held for one try, not while waiting for the next.
  const response = await patiently(() =>
    inTurn(async () => {
      if (isFresh()) return null; // another tab has done it while we stood in line
      const response = await fetchInTime(call("/v1/auth/refresh"));
      if (response.ok) accept(await response.json());
      return response;
    }),
  );
  if (response === null || response.ok) return;
  if (response.status !== 401) throw new Refused(((await response.json()) as Problem).detail);
  become(null, true);
  throw new SignedOut();
}

/** The problem, if there is one: `totp_required` asks for a code. */
export async function signIn(body: components["schemas"]["Credentials"]): Promise<Problem | undefined> {
  return inTurn(async () => {
    const response = await fetchInTime(call("/v1/auth/login", body));
    if (!response.ok) return (await response.json()) as Problem;
    accept(await response.json());
    return undefined;
  });
}

/** Ends the session there before it is forgotten here: else it would live on in the cookie, which by then may be another's. */
export async function signOut(): Promise<void> {
  const signal = untilSignedOut();
  await patiently(() => inTurn(() => fetchInTime(new Request(call("/v1/auth/logout"), { signal }))), signal);
  become(null, true);
}

/** One tab at a time, so that no two calls change the cookie at once. */
async function inTurn<T>(work: () => Promise<T>): Promise<T> {
  return await navigator.locks.request(LOCK, work);
}

/** Only these calls carry the cookie. */
function call(path: string, body?: object): Request {
  const json = body && { body: JSON.stringify(body), headers: { "Content-Type": "application/json" } };
  return new Request(API + path, { method: "POST", credentials: "include", ...json });
}

function accept(answer: Answer): void {
  // Nine tenths of its life: clocks and calls take time.
  become({ text: answer.access_token, renewAt: Date.now() + answer.expires_in * 900, user: answer.user }, true);
}

function become(next: Token | null, tellOthers: boolean): void {
  const isAnother = next?.user.id !== token?.user.id;
  token = next;
  if (tellOthers) tabs.postMessage(next);
  if (!isAnother) return;
  presence.abort(new SignedOut());
  presence = new AbortController();
  listener(next?.user ?? null);
}

tabs.onmessage = ({ data }: MessageEvent<Token | null>) => become(data, false);
