// Which view is shown: by who is signed in and by the path. Links are followed without a reload, which would ask for a new token.
import { fill, find, fromTemplate } from "./dom";
import { saying } from "./forms";
import * as live from "./live";
import { onOutage } from "./retry";
import { accessToken, currentUser, onUser, SignedOut, signOut, untilSignedOut, type User } from "./session";
import { account } from "./views/account";
import { history as transactionHistory } from "./views/history";
import { signIn } from "./views/sign-in";
import { statement } from "./views/statement";
import { transaction } from "./views/transaction";
import { verifyEmail } from "./views/verify-email";

/** Fills the page; what it listens to ends with the signal, when another view comes. */
export type View = (page: HTMLElement, signal: AbortSignal, id: string) => void;

const main = find(document, "#main");
let shown = new AbortController();

function show(template: string, view: View, id = ""): void {
  shown.abort();
  shown = new AbortController();
  const isFirst = main.querySelector("h1") === null; // of a page that was just loaded: read from its top
  main.replaceChildren(fromTemplate(template));
  if (!isFirst) main.focus();
  document.title = `${find(main, "h1").textContent || "Transaction"} – Octoco`;
  view(main, shown.signal, id);
}

function showPath(): void {
  const path = location.pathname;
  const [, id] = /^\/(?:deposits|transactions)\/([0-9a-f-]{36})$/.exec(path) ?? [];
  if (id !== undefined) show("transaction", transaction, id);
  else if (path === "/history") show("history", transactionHistory);
  else if (path === "/statement") show("statement", statement);
  else show("account", account);
}

/** Somebody came or went, here or in another tab. */
function greet(user: User | null): void {
  find(document, "#nav").hidden = user === null;
  fill(document, { email: user?.email });
  if (user !== null) live.begin(user, untilSignedOut());
  if (location.pathname === "/verify-email") return;
  if (user === null) show("sign-in", signIn);
  else showPath();
}

function go(path: string): void {
  history.pushState(null, "", path);
  showPath();
}

document.addEventListener("click", (event) => {
  const link = (event.target as Element).closest("a");
  const isPlain = event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey;
  if (!link || link.origin !== location.origin || !isPlain || find(document, "#nav").hidden) return;
  event.preventDefault();
  go(link.pathname);
});
window.addEventListener("popstate", () => find(document, "#nav").hidden || showPath());
find(document, "#sign-out").addEventListener("click", () => void signOut());
onOutage((isWaiting) => {
  find(document, "#connection").textContent = isWaiting ? "No answer at the moment. Trying again; nothing is lost." : "";
});
live.onNews((news) => {
  if (news.kind !== "transaction") return;
  find(document, "#news").textContent = live.inBrief(news.transaction);
}, new AbortController().signal);

// Reads that ended because another view came, or nobody is signed in any more.
window.addEventListener("unhandledrejection", (event) => {
  const { reason } = event;
  if (reason instanceof SignedOut || (reason instanceof DOMException && reason.name === "AbortError")) event.preventDefault();
});
onUser(greet);
if (location.pathname === "/verify-email") show("verify-email", verifyEmail);
accessToken().then(
  () => currentUser(),
  (error: unknown) => {
    if (error instanceof SignedOut) greet(null);
    else show("trouble", (page) => fill(page, { why: saying(error) }));
  },
);
