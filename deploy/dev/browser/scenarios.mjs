// What a person does, and what goes wrong around it. Each begins with a browser of its own; each title is what must hold.
import { addBankAccount, CHECKOUT, count, openCheckout, payIn, problem, readable, saved, TOTAL } from "./steps.mjs";
import { totp } from "./totp.mjs";
import { isSignedIn, mustBe, sees, signIn, signOut, submit, until, wish } from "./world.mjs";

const DEPOSIT = /R\s?1\s?500[,.]00/;
const LEFT = /R\s?1\s?000[,.]00/;
const AWAY = "#connection";

export const scenarios = {
  "from registering to the statement, and every change is seen without a reload": async (world) => {
    const page = await (await world.newBrowser()).newPage();
    await page.goto(world.page);
    const person = { full_name: "Thandi Nkosi", email: `walk-${Date.now()}@example.com`, password: "a long enough password" };
    await submit(page, "#register-form", person);
    await sees(page, "#unverified-form", "confirm your e-mail");

    const link = /http\S+\/verify-email#token=\S+/.exec(await wish("mail", { to: person.email, about: "/verify-email#" }))[0];
    await page.goto(link);
    await page.locator("#verify-form button").click();
    await sees(page, "#verify-form", "is confirmed");
    mustBe("the token in the address", new URL(page.url()).hash, "");
    await page.getByRole("link", { name: "To your account" }).click();
    await page.locator("#unverified-form").waitFor({ state: "hidden" });

    await openCheckout(page, "1 500,00");
    await world.screenshot(page, "checkout");
    await page.locator("#pay").click();
    await page.waitForURL(/\/deposits\/[0-9a-f-]+\?checkout=success$/);
    await neverReloaded(page, async () => {
      await sees(page, "#state", "Completed");
      await page.getByRole("link", { name: "Account", exact: true }).click();
      await sees(page, "#balances", DEPOSIT);

      await addBankAccount(page, { account_number: "12" });
      await page.locator("[name=account_number][aria-invalid=true]:focus").waitFor(); // the problem is told at its input
      await addBankAccount(page);
      await sees(page, "#bank-accounts", "****4567");
      await submit(page, "#withdrawal-form", { amount: "500.00" });
      await sees(page, "tr[data-state=completed]", "Withdrawal");
      await sees(page, "#balances", LEFT);
      await world.screenshot(page, "account");

      await page.getByRole("link", { name: "History" }).click();
      await sees(page, TOTAL, "Rows 1 to 2 of 2");
      await page.locator("[name=kind]").selectOption("withdrawal");
      await page.getByRole("button", { name: "Show" }).click();
      await sees(page, TOTAL, "Rows 1 to 1 of 1");
      await page.getByRole("link", { name: "Statement" }).click();
      await page.getByRole("button", { name: "Show" }).click();
      await sees(page, "#shown", LEFT);
      mustBe("lines of the statement", await page.locator("#lines tr").count(), 2);
    });
    mustBe("the first bytes of the PDF", (await saved(page, "Save as PDF")).subarray(0, 5).toString(), "%PDF-");
    mustBe("the currency in the CSV", (await saved(page, "Save as CSV")).includes("ZAR"), true);
    await world.screenshot(page, "statement");
  },

  "a checkout that failed or was left is told as such, and the deposit can be cancelled": async (world) => {
    const page = await world.signedIn(await world.customer());
    await openCheckout(page, "20");
    await page.locator("#decline").click();
    await page.waitForURL(/checkout=failure$/);
    await sees(page, "#state", "did not go through");
    await page.locator("#checkout").click();
    await page.locator("#cancel").click();
    await page.waitForURL(/checkout=cancelled$/);
    await sees(page, "#state", "You left the checkout");
    await page.locator("#cancel-form button").click();
    await sees(page, "#state", "Cancelled");
    // The address is no evidence: it says what it likes, the state is the API's.
    await page.goto(page.url().replace("cancelled", "success"));
    await sees(page, "#state", "Cancelled");
  },

  "a withdrawal that waits for an approval can be cancelled, and the money is there again": async (world) => {
    const page = await world.signedIn(await world.customer({ deposits: [10_000_000], bankAccount: true }));
    await sees(page, "#bank-accounts", "****4567");
    await submit(page, "#withdrawal-form", { amount: "60000" });
    await sees(page, "#balances", "on its way out");
    await page.locator("tr[data-state=awaiting_approval] a").click();
    await sees(page, "#state", "Being checked");
    await page.locator("#cancel-form button").click();
    await sees(page, "#state", "Cancelled");
    await page.getByRole("link", { name: "Account", exact: true }).click();
    await sees(page, "#balances", /^R\s?100\s?000[,.]00 available$/);
  },

  "a second factor is asked for where it is needed": async (world) => {
    const person = await world.customer();
    const { secret } = await world.call("POST", "/v1/me/totp", { token: person.token, body: { password: person.password } });
    const first = { token: person.token, body: { code: totp(secret) } };
    const { recovery_codes: codes } = await world.call("POST", "/v1/me/totp/confirm", first);
    const page = await world.signedIn(person);
    await addBankAccount(page);
    await sees(page, "#bank-account-form label", "Code of your authenticator");
    await page.locator("#bank-account-form [name=totp_code]").fill(codes[0]);
    await page.locator("#bank-account-form button").click();
    await sees(page, "#bank-accounts", "****4567");
  },

  "an access token that runs out, by its clock or by new keys, is renewed without a word": async (world) => {
    const page = await world.signedIn(await world.customer({ deposits: [150_000], bankAccount: true }));
    await sees(page, "#balances", DEPOSIT);
    let refused = 0;
    let renewed = 0;
    page.on("response", (response) => {
      if (response.status() === 401) refused += 1;
      if (response.url().endsWith("/v1/auth/refresh") && response.ok()) renewed += 1;
    });
    await page.clock.setSystemTime(Date.now() + 14 * 60_000);
    await page.getByRole("link", { name: "History" }).click();
    await sees(page, TOTAL, "Rows 1 to 1 of 1");
    mustBe("calls with a token that has run out", refused, 0);
    mustBe("renewed by its clock", renewed > 0, true);

    // The stream comes back as soon as there is somebody to ask, maybe before the start is told.
    renewed = 0;
    await wish("stop", { part: "octoco" });
    await wish("start", { part: "octoco", new_keys: true });
    await page.getByRole("link", { name: "Account", exact: true }).click();
    await sees(page, "#bank-accounts", "****4567");
    await submit(page, "#withdrawal-form", { amount: "500" });
    await sees(page, "tr[data-state=completed]", "Withdrawal");
    mustBe("tokens of old keys are refused", refused > 0, true);
    mustBe("renewed after a refusal", renewed > 0, true);
    await isSignedIn(page);
  },

  "what happens in one tab is seen in the other, and both sign out at once": async (world) => {
    const context = await world.newBrowser();
    const person = await world.customer({ deposits: [150_000], bankAccount: true });
    const one = await world.signedIn(person, context);
    const other = await context.newPage();
    await other.goto(world.page);
    await isSignedIn(other);
    await sees(other, "#balances", DEPOSIT);
    await neverReloaded(other, async () => {
      await sees(one, "#bank-accounts", "****4567");
      await submit(one, "#withdrawal-form", { amount: "500" });
      await sees(other, "tr[data-state=completed]", "Withdrawal");
      await sees(other, "#balances", LEFT);
      await one.close(); // whichever tab reads for both, the news goes on
      await world.pay(person.token, 50_000);
      await sees(other, "#balances", DEPOSIT);
    });
    const third = await context.newPage();
    await third.goto(world.page);
    await isSignedIn(third);
    await signOut(third);
    await sees(other, "h1", "Sign in");
    await third.reload();
    await sees(third, "h1", "Sign in");
  },

  "ten tabs that are restored at once stay signed in, with one stream for all": async (world) => {
    const context = await world.newBrowser();
    const person = await world.customer({ deposits: [150_000] });
    await (await world.signedIn(person, context)).close();
    let streams = 0;
    context.on("request", (request) => (streams += request.url().endsWith("/v1/events") && request.method() === "GET"));
    const tabs = await Promise.all(Array.from({ length: 10 }, () => context.newPage()));
    for (const round of [1, 2]) {
      await Promise.all(tabs.map((tab) => (round === 1 ? tab.goto(world.page) : tab.reload())));
      await Promise.all(tabs.map((tab) => sees(tab, "#balances", DEPOSIT)));
      await Promise.all(tabs.map(isSignedIn));
    }
    await world.pay(person.token, 50_000);
    await Promise.all(tabs.map((tab) => sees(tab, "#balances", /R\s?2\s?000[,.]00/)));
    if (streams > 10) throw new Error(`${streams} streams for ten tabs that were loaded twice`);
    mustBe("sessions ended for a token used twice", await wish("metric", { name: REUSED }), 0);
  },

  "an API that restarts in the middle of a withdrawal, and a reload meanwhile: nothing is lost, it is paid once": async (world) => {
    const person = await world.customer({ deposits: [150_000], bankAccount: true });
    const page = await world.signedIn(person);
    await sees(page, "#bank-accounts", "****4567");
    await wish("stop", { part: "octoco" });
    await submit(page, "#withdrawal-form", { amount: "500" });
    await sees(page, AWAY, "Trying again");
    await world.screenshot(page, "away");
    await page.reload();
    await sees(page, AWAY, "Trying again");
    await wish("start", { part: "octoco" });
    await isSignedIn(page);
    await sees(page, "tr[data-state=completed]", "Withdrawal");
    await page.locator(AWAY).filter({ hasText: /^$/ }).waitFor({ state: "attached" });
    mustBe("withdrawals", await count(world, person, "withdrawal"), 1);
  },

  "an answer that is lost on the way, and a reload: it is paid once": async (world) => {
    const person = await world.customer({ deposits: [150_000], bankAccount: true });
    const page = await world.signedIn(person);
    await sees(page, "#bank-accounts", "****4567");
    let [taken, keys] = [0, new Set()];
    await page.route("**/v1/withdrawals", async (route) => {
      if (route.request().method() !== "POST") return route.continue();
      keys.add(route.request().headers()["idempotency-key"]);
      if (taken > 1) return route.continue();
      const response = await route.fetch();
      taken += response.status() === 202;
      return route.abort("connectionreset");
    });
    await submit(page, "#withdrawal-form", { amount: "500" });
    await until("the withdrawal was taken", () => taken > 0);
    await page.reload();
    await sees(page, "#balances", LEFT);
    await until("no answer is waited for", async () => (await page.evaluate(() => sessionStorage.length)) === 0);
    mustBe("keys", keys.size, 1);
    mustBe("withdrawals", await count(world, person, "withdrawal"), 1);
  },

  "where the API has no stream the long poll tells, and without that plain questions do": async (world) => {
    for (const without of [["events"], ["events", "wait="]]) {
      const context = await world.newBrowser();
      let [asked, answered] = [0, 0];
      for (const what of without) await context.route(new RegExp(`/v1/.*${what}`), (route) => route.fulfill(problem(world, 404, "not_found")));
      context.on("request", (request) => (asked += request.url().includes("wait=")));
      context.on("response", (response) => (answered += response.url().includes("wait=") && response.ok()));
      const person = await world.customer({ deposits: [10_000_000], bankAccount: true });
      const page = await world.signedIn(person, context);
      await sees(page, "#bank-accounts", "****4567");
      await neverReloaded(page, async () => {
        // One that stays as it is until somebody acts: a paid one may be over before anybody asks for it.
        await submit(page, "#withdrawal-form", { amount: "60000" });
        await sees(page, "tr[data-state=awaiting_approval]", "Withdrawal");
        await until("a long poll was tried", () => asked > 0);
        const { data } = await world.call("GET", "/v1/transactions?kind=withdrawal", person);
        await world.call("POST", `/v1/withdrawals/${data[0].id}/cancel`, person);
        await sees(page, "tr[data-state=cancelled]", "Withdrawal");
        await sees(page, "#balances", /^R\s?100\s?000[,.]00 available$/);
      });
      mustBe("long polls were answered", answered > 0, without.length === 1);
    }
  },

  "without Redis everybody stays signed in, and money moves": async (world) => {
    const page = await world.signedIn(await world.customer({ deposits: [150_000], bankAccount: true }));
    await wish("stop", { part: "redis" });
    try {
      await page.reload();
      await isSignedIn(page);
      await sees(page, "#bank-accounts", "****4567");
      await submit(page, "#withdrawal-form", { amount: "500" });
      await sees(page, "tr[data-state=completed]", "Withdrawal");
      await sees(page, "#balances", LEFT);
    } finally {
      await wish("start", { part: "redis" });
    }
    await page.reload();
    await isSignedIn(page);
  },

  "a session that is ended elsewhere ends here, without a reload": async (world) => {
    const person = await world.customer();
    const page = await world.signedIn(person);
    await page.locator("#balances").waitFor({ state: "attached" });
    await world.call("DELETE", "/v1/auth/sessions", { token: person.token }); // all but the one that this call is of
    await sees(page, "h1", "Sign in");
  },

  "an order that waits is nobody else's: it goes out again when the person who made it is back": async (world) => {
    const [one, other] = [await world.customer(), await world.customer()];
    const page = await world.signedIn(one);
    let [isAway, keys] = [true, []];
    await page.route("**/v1/deposits", (route) => {
      if (route.request().method() !== "POST") return route.continue();
      keys.push(route.request().headers()["idempotency-key"]);
      return isAway ? route.fulfill(problem(world, 503, "unavailable")) : route.continue();
    });
    await payIn(page, "20");
    await sees(page, AWAY, "Trying again");
    await signOut(page);
    mustBe("what is waited for", await page.locator(AWAY).textContent(), "");
    await signIn(page, other);
    await tryNow(page);
    mustBe("tries", keys.length, 1);
    isAway = false;
    await signOut(page);
    await signIn(page, one);
    await page.waitForURL(CHECKOUT);
    mustBe("keys", new Set(keys).size, 1);
    mustBe("deposits", await count(world, one, "deposit"), 1);
    mustBe("deposits of the other", await count(world, other, "deposit"), 0);
  },

  "a sign-out that waits ends nobody else's session": async (world) => {
    const context = await world.newBrowser();
    const [one, other] = [await world.customer(), await world.customer()];
    const waiting = await world.signedIn(one, context);
    const tab = await context.newPage();
    await tab.goto(world.page);
    await isSignedIn(tab);
    let asked = 0;
    await waiting.route("**/v1/auth/logout", (route) => {
      asked += 1;
      return route.fulfill(problem(world, 503, "unavailable"));
    });
    await waiting.locator("#sign-out").click();
    await sees(waiting, AWAY, "Trying again");
    await signOut(tab);
    await signIn(tab, other);
    await sees(waiting, "#nav", other.email);
    await tryNow(waiting);
    mustBe("sign-outs", asked, 1);
    await waiting.reload();
    await sees(waiting, "#nav", other.email);
  },

  "what a proxy says in the API's place is no answer, and ends no session": async (world) => {
    const page = await world.signedIn(await world.customer());
    const answers = [[200, "text/html"], [401, "text/html"], [200, "text/plain"]];
    await page.route("**/v1/auth/refresh", (route) => {
      const [status, contentType] = answers.shift() ?? [];
      return status ? route.fulfill({ status, contentType, headers: readable(world), body: "Back soon" }) : route.continue();
    });
    await page.reload();
    await sees(page, AWAY, "Trying again");
    await isSignedIn(page);
    mustBe("answers that were left", answers.length, 0);
  },

  "a page of another site gets no session and is told why": async (world) => {
    const page = await (await world.newBrowser()).newPage();
    await page.goto(world.other_site);
    await sees(page, "#main", "does not trust this page");
    await sees(page, "#main a", "Try again");
    await world.screenshot(page, "other-site");
    mustBe("cookies", (await page.context().cookies()).length, 0);
  },
};

const REUSED = 'octoco_sign_ins_total{outcome="token_reused"}';

/** A page that is loaded anew forgets what was written on its window. */
async function neverReloaded(page, work) {
  await page.evaluate(() => (window.stillHere = true));
  await work();
  mustBe("the page was not reloaded", await page.evaluate(() => window.stillHere), true);
}

/** Ends every pause between two tries. What would go out then has gone out when another view has been read. */
async function tryNow(page) {
  await page.bringToFront(); // else each click takes a second
  await page.evaluate(() => window.dispatchEvent(new Event("online")));
  await page.getByRole("link", { name: "History" }).click();
  await sees(page, TOTAL, "No rows");
  await page.getByRole("link", { name: "Account", exact: true }).click();
}
