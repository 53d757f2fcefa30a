// What goes wrong on the way to the money and back without anybody noticing. As in `scenarios.mjs`, each title is what must hold.
import { addBankAccount, CHECKOUT, count, payIn, problem, saved, TOTAL } from "./steps.mjs";
import { isSignedIn, mustBe, sees, signIn, signOut, submit, until } from "./world.mjs";

const DEPOSIT = /R\s?1\s?500[,.]00/;

export const details = {
  "a bank account is added once and removed, whatever becomes of the answers, and a refusal is told": async (world) => {
    const person = await world.customer({ bankAccount: true });
    const page = await world.signedIn(person);
    await sees(page, "#bank-accounts", "****4567");
    const keys = [];
    await page.route("**/v1/bank-accounts", async (route) => {
      if (route.request().method() !== "POST") return route.continue();
      keys.push(route.request().headers()["idempotency-key"]);
      if (keys.length > 1) return route.continue();
      await route.fetch();
      return route.abort("connectionreset");
    });
    await addBankAccount(page, { account_number: "62007654321" });
    await sees(page, "#bank-accounts", "****4321");
    mustBe("tries", keys.length, 2);
    mustBe("keys", new Set(keys).size, 1);
    const elsewhere = { account_holder: "Thandi Nkosi", account_number: "62001119999", branch_code: "250655", bank_name: "FNB" };
    await world.call("POST", "/v1/bank-accounts", { token: person.token, body: elsewhere });
    await addBankAccount(page, elsewhere);
    await sees(page, "#bank-account-form [role=alert]", /\S/); // it is there already, and that is seen, too
    await sees(page, "#bank-accounts", "****9999");
    mustBe("bank accounts", await page.locator("#bank-accounts li").count(), 3);

    const fates = ["refused", "lost"];
    await page.route(/\/v1\/bank-accounts\/[0-9a-f-]+$/, async (route) => {
      const fate = route.request().method() === "DELETE" ? fates.shift() : undefined;
      if (fate === "refused") return route.fulfill(problem(world, 403, "forbidden"));
      if (fate === undefined) return route.continue();
      await route.fetch();
      return route.abort("connectionreset");
    });
    const line = page.locator("#bank-accounts li").filter({ hasText: "****9999" });
    await line.getByRole("button").click();
    await sees(page, "#removal-form [role=alert]", "refused: forbidden");
    await line.getByRole("button").click(); // what is not there when it is sent again is gone
    await line.waitFor({ state: "detached" });
    mustBe("what is told", await page.locator("#removal-form [role=alert]").textContent(), "");
    mustBe("the focus", await focused(page), "bank-accounts");
  },

  "while the checkout is loading no other deposit is made": async (world) => {
    const person = await world.customer();
    const page = await world.signedIn(person);
    let isAsked = false;
    await page.route(CHECKOUT, (route) => {
      isAsked = true;
      return route.fulfill({ status: 204 }); // the browser stays where it is, as while it loads
    });
    await payIn(page, "20");
    await until("the checkout is asked for", () => isAsked);
    await page.locator("#deposit-form[aria-busy=true] button").click();
    await page.evaluate(() => window.dispatchEvent(new PageTransitionEvent("pageshow", { persisted: true })));
    await page.locator("#deposit-form[aria-busy=false]").waitFor(); // as when the browser goes back to it
    mustBe("deposits", await count(world, person, "deposit"), 1);
  },

  "a deposit that is over when its order is sent again leads to its own page": async (world) => {
    const person = await world.customer();
    const page = await world.signedIn(person);
    let isLost = false;
    await page.route("**/v1/deposits", async (route) => {
      if (route.request().method() !== "POST" || isLost) return route.continue();
      isLost = true;
      const { id } = await (await route.fetch()).json();
      await world.call("POST", `/v1/deposits/${id}/cancel`, { token: person.token });
      return route.abort("connectionreset");
    });
    await payIn(page, "20");
    await page.waitForURL(/\/deposits\/[0-9a-f-]+$/);
    await sees(page, "#state", "Cancelled");
  },

  "days are those of the person's clock, in the history, the statement and its files": async (world) => {
    // In one of the two it is another day than in UTC, whatever the hour.
    const timezoneId = new Date().getUTCHours() < 10 ? "Pacific/Pago_Pago" : "Pacific/Kiritimati";
    const day = (ahead) => new Date(Date.now() + ahead * 86_400_000).toLocaleDateString("sv", { timeZone: timezoneId });
    const [yesterday, today] = [{ from: day(-1), to: day(0) }, { from: day(0), to: day(1) }];
    const page = await world.signedIn(await world.customer({ deposits: [150_000] }), await world.newBrowser({ timezoneId }));
    const zones = [];
    page.on("request", (request) => {
      if (request.url().includes("/v1/statements?")) zones.push(new URL(request.url()).searchParams.get("tz"));
    });
    await page.getByRole("link", { name: "History" }).click();
    await submit(page, "#filter-form", yesterday);
    await sees(page, TOTAL, "No rows");
    await submit(page, "#filter-form", today);
    await sees(page, TOTAL, "Rows 1 to 1 of 1");
    await page.getByRole("link", { name: "Statement" }).click();
    await page.locator("#statement-form option").first().waitFor({ state: "attached" });
    await submit(page, "#statement-form", today);
    await sees(page, "#lines", DEPOSIT);
    await saved(page, "Save as PDF");
    mustBe("the offset in the CSV", /T[0-9:.]+[+-]1[14]:00/.test(await saved(page, "Save as CSV")), true);
    mustBe("zones", zones.join(), [timezoneId, timezoneId, timezoneId].join());
  },

  "pages of the history go with the filters that they came with, and what goes wrong is told": async (world) => {
    const page = await world.signedIn(await world.customer({ deposits: [150_000, 50_000, 20_000] }));
    let [asked, isRefused, answer, held] = [0, false, undefined, Promise.resolve()];
    await page.route(/limit=20/, async (route) => {
      if (route.request().method() !== "GET") return route.continue();
      asked += 1;
      await held;
      if (isRefused) return route.fulfill(problem(world, 400, "invalid"));
      return route.continue({ url: route.request().url().replace("limit=20", "limit=2") });
    });
    await page.getByRole("link", { name: "History" }).click();
    await sees(page, TOTAL, "Rows 1 to 2 of 3");
    await page.locator("[name=kind]").selectOption("withdrawal"); // nobody has pressed Show yet
    await page.locator("#next").click();
    await sees(page, TOTAL, "Rows 3 to 3 of 3");
    mustBe("the focus", await focused(page), "previous");
    [asked, held] = [0, new Promise((resolve) => (answer = resolve))];
    await page.locator("#previous").click();
    await page.getByRole("button", { name: "Show" }).click(); // one after the other: no answer comes over a newer one
    answer();
    await sees(page, TOTAL, "Rows 1 to 2 of 3");
    mustBe("questions", asked, 1);
    isRefused = true;
    await page.locator("#next").click();
    await sees(page, "#filter-form [role=alert]", "refused: invalid");
    isRefused = false;
    await page.getByRole("button", { name: "Show" }).click();
    await sees(page, TOTAL, "No rows");
  },

  "the focus is never lost, and errors can be read by day and by night": async (world) => {
    const person = await world.customer({ deposits: [150_000], bankAccount: true });
    const page = await (await world.newBrowser()).newPage();
    await page.goto(world.page);
    await sees(page, "h1", "Sign in");
    mustBe("the focus of a page that was just loaded", await focused(page), "body");
    await signIn(page, person);
    mustBe("the focus after signing in", await focused(page), "main");
    await sees(page, "#bank-accounts", "****4567");
    await page.locator("#withdrawal-form [name=amount]").fill("500");
    await page.locator("#withdrawal-form button").focus();
    await page.keyboard.press("Enter");
    await sees(page, "tr[data-state=completed]", "Withdrawal");
    mustBe("what the keyboard is at after an order", await page.locator("#withdrawal-form button:focus").count(), 1);
    await signOut(page);
    mustBe("the focus after signing out", await focused(page), "main");
    for (const colorScheme of ["light", "dark"]) {
      await page.emulateMedia({ colorScheme });
      const found = await contrast(page);
      if (found < 4.5) throw new Error(`errors have a contrast of ${found} where it is ${colorScheme}`);
    }
  },
};

/** The id of the element that the keyboard is at. */
const focused = (page) => page.evaluate(() => document.activeElement.id || document.activeElement.localName);

/** Of the text of errors to the page, as WCAG 2 computes it. */
function contrast(page) {
  return page.evaluate(() => {
    const probe = document.createElement("p");
    probe.className = "wrong";
    probe.style.backgroundColor = "Canvas";
    document.body.append(probe);
    const { color, backgroundColor } = getComputedStyle(probe);
    probe.remove();
    const linear = (byte) => (byte <= 10 ? byte / 255 / 12.92 : ((byte / 255 + 0.055) / 1.055) ** 2.4);
    const [one, other] = [color, backgroundColor].map((colour) => {
      const [red, green, blue] = colour.match(/\d+/g).map(Number).map(linear);
      return 0.2126 * red + 0.7152 * green + 0.0722 * blue + 0.05;
    });
    return Math.max(one / other, other / one);
  });
}
